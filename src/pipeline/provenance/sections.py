"""Sections and inputs of the stages that depend on more than one section of the config."""

from __future__ import annotations

from typing import Any

from pipeline.config.base import Section
from pipeline.config.bridge import SAMPLER_KINDS, BridgeStages
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
                "sampler": SamplerSection.model_validate(
                    {"kind": SAMPLER_KINDS[section.process][0], "nfe": 1}
                ),
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
