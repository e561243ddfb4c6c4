"""Sections and inputs of the stages that depend on more than one section of the config."""

from __future__ import annotations

from typing import Any

from pipeline.config.base import Section
from pipeline.config.bridge import BridgeStages, any_sampler
from pipeline.config.evaluation import Condition
from pipeline.config.names import SystemName
from pipeline.config.photometry import law_module
from pipeline.provenance.run import Run


def values(section: Section, *keys: str) -> dict[str, Any]:
    """A section's keys, all of them unless some are named."""
    return {key: getattr(section, key) for key in keys or type(section).model_fields}


def some(condition: Any, *names: str) -> tuple[str, ...]:
    """Some names under a condition."""
    return names if condition else ()


def law(run: Run, label: str) -> tuple[str, ...]:
    """The module of the law of reflectance, for stages that render images."""
    return (law_module(run.config.photometry.law),)


def far(run: Run) -> tuple[str, ...]:
    return some(run.config.illumination.far_m > 0, "far")


def test_places(run: Run) -> set[str]:
    return {draw.place for draw in run.config.arcs.test.values()}


def bridge(run: Run, label: str) -> dict[str, Any]:
    """Section of one stage of a training; a later stage has the earlier ones' budgets through their keys."""
    c, name = run.config, _name(label)
    section = c.system(name.system)
    return {
        "stage": name.stage,
        "training": c.training,
        "photometry": c.photometry,
        "imperfections": c.imperfections.train,
        # How clones are drawn and spread does not change the weights.
        "bridge": section.model_copy(
            update={
                "sampler": any_sampler(section.process),
                "stages": BridgeStages(),
                "calibrate": False,
            }
        ),
        "optimiser": getattr(section.stages, name.stage),
        "images": c.arcs.train.images if name.stage == "fibonacci" else None,
        "arcs": None if name.stage == "fibonacci" else {"tolerance": c.arcs.tolerance, "train": c.arcs.train},
        "masks": c.masks.train if name.stage == "missing" else None,
    }


def _name(label: str) -> SystemName:
    name = SystemName.parse(label)
    assert name is not None, label
    return name


def bridge_inputs(run: Run, label: str) -> tuple[str, ...]:
    c, name = run.config, _name(label)
    kernels = name.stage != "fibonacci" and c.arcs.train.place == "ephemeris"
    return (
        "manifest",
        *some(c.system(name.system).space == "latent", "vae"),
        *some(name.previous, str(name.previous)),
        *some(kernels, "ephemeris"),
    )


def calibration(run: Run, label: str) -> dict[str, Any]:
    c, name = run.config, _name(label)
    section = c.system(name.system)
    return {
        "stage": name.stage,
        "tolerance": c.arcs.tolerance,
        "main": run.main_draw,
        "photometry": c.photometry,
        "imperfections": c.imperfections.train,
        "sampler": section.sampler,
        "seed": section.seed,
        "cpu_threads": c.training.cpu_threads,
    }


def calibration_inputs(run: Run, label: str) -> tuple[str, ...]:
    vae = some(run.config.system(_name(label).system).space == "latent", "vae")
    return (label, "manifest", *vae, *some(run.main_draw.place == "ephemeris", "ephemeris"))


def rival(run: Run, name: str) -> dict[str, Any]:
    """Section of a learned rival's training."""
    c, options = run.config, getattr(run.config.predictors, name, None)
    return {
        "name": name,
        "module": run.predictors[name].train,
        "options": {} if options is None else options.model_dump(mode="json"),
        "imperfections": c.imperfections.train,
        "arcs": {"tolerance": c.arcs.tolerance, "train": c.arcs.train},
        "masks": c.masks.train,
        **values(c, "training", "photometry"),
    }


def predictor(run: Run, name: str) -> dict[str, Any]:
    """Section of a predictor's evaluation: what its kind does not use does not enter."""
    c, entry = run.config, run.predictors[name]
    out = values(c.evaluation, "max_patches", "batch", "bootstrap", "seed")
    out |= {"name": name, "module": entry.module, "make": entry.make, "floor": entry.floor}
    options = run.sampler(name) if name in run.scored else getattr(c.predictors, name, None)
    if options is not None:
        out["options"] = options.model_dump(mode="json")
    if entry.images:
        out["conditions"] = _conditions(run, name)
        out |= {"photometry": c.photometry, "imperfections": c.imperfections.test}
    if entry.draws:
        out["members"] = c.evaluation.members
    weights = {key: value for key, value in run.weights.items() if key.partition(".")[0] in entry.files}
    return {**out, "weights": weights, "cpu_threads": c.training.cpu_threads}


def _conditions(run: Run, name: str) -> dict[str, Condition]:
    """The conditions under which a predictor is scored; those for some systems are for all rivals."""
    c, parsed = run.config, SystemName.parse(name)
    return {
        label: condition.model_copy(update={"systems": "all"})
        for label, condition in c.evaluation.conditions.items()
        if name not in run.scored
        or name == c.primary
        or condition.systems == "all"
        or (condition.systems == "last" and parsed is not None and parsed.last)
    }


def predictor_code(run: Run, name: str) -> tuple[str, ...]:
    """The chosen predictor's module, and the law's where it needs images."""
    entry = run.predictors[name]
    return (entry.module, *(law(run, name) if entry.images else ()))


def region(run: Run, label: str) -> dict[str, Any]:
    c = run.config
    return {
        "region": c.region,
        "photometry": c.photometry,
        "illumination": c.illumination,
        "tolerance": c.arcs.tolerance,
        **values(c.patches, "factor", "size_px", "stride_px"),
        "sampler": run.sampler(c.primary),
        "weights": run.weights,
        "cpu_threads": c.training.cpu_threads,
    }


def region_inputs(run: Run, label: str) -> tuple[str, ...]:
    suns = some(run.config.region.light.place == "ephemeris", "ephemeris")
    return ("terrain", "split", *far(run), *suns, *run.model_stages(run.config.primary))


def report(run: Run, label: str) -> dict[str, Any]:
    c, given = run.config, run.found.given
    facts = None if given is None else given.facts
    return {"report": c.report, "photometry": c.photometry, "config": run.key, "pretrained": facts}
