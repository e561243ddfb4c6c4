"""Sections and inputs of stages that depend on several sections of the config.

Functions take a run and the label of a stage (see `pipeline.provenance.stages.Declaration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.config.base import Section
from pipeline.config.bridge import BridgeStages, any_sampler
from pipeline.config.evaluation import Condition
from pipeline.config.maps import MapSection
from pipeline.config.names import SCENE_STAGES, SystemName
from pipeline.config.photometry import law_module
from pipeline.config.rivals import RivalSection
from pipeline.config.root import Config
from pipeline.config.split import SplitIndex
from pipeline.provenance.run import Run


def filled(kind: type[Section], config: Config, of: tuple[str, ...], own: Mapping[str, Any]) -> Section:
    """A stage's section: each field is taken from the first part of the config with a key of that name.

    Parameters
    ----------
    kind : class of the section. of : sections of the config, ``.`` for its top level.
    own : fields that the config lacks, or that differ from it.
    """
    found: dict[str, Any] = {}
    for part in (config if name == "." else getattr(config, name) for name in of):
        found = {key: getattr(part, key) for key in kind.model_fields if hasattr(part, key)} | found
    return kind.model_validate(found | dict(own))


def some(condition: Any, *names: str) -> tuple[str, ...]:
    """The names if the condition holds, else none."""
    return names if condition else ()


def law(run: Run, label: str) -> tuple[str, ...]:
    """The module of the law of reflectance, for stages that render images."""
    return (law_module(run.config.photometry.law),)


def map_laws(run: Run, label: str) -> tuple[str, ...]:
    """Modules of the reflectance laws of a map: the chosen one, and Lambert's for the exposures."""
    return tuple(dict.fromkeys((*law(run, label), law_module("lambert"))))


def split(run: Run, label: str) -> dict[str, Any]:
    """Section of the split; index files enter by their digests."""
    given = run.config.split
    if given.index is None:
        return {}
    digests = dict(zip(("train", "validation", "test"), run.found.index, strict=True))
    return {"split": given.model_copy(update={"index": SplitIndex.model_validate(digests)})}


def rendered(run: Run, label: str) -> dict[str, Any]:
    """Section of rendered scenes, without the keys that only say how a training uses them."""
    assert run.config.scenes is not None
    return {"scenes": run.config.scenes.rendered}


def rendered_test(run: Run, label: str) -> dict[str, Any]:
    """Section of test scenes, whose terrain is not flattened, so that all predictors have the same truth."""
    assert run.config.scenes is not None
    return {"scenes": run.config.scenes.rendered.model_copy(update={"gentle": 0.0}), "splits": ["test"]}


def scenes_laws(run: Run, label: str) -> tuple[str, ...]:
    """Modules of the reflectance laws of the rendered image sets."""
    assert run.config.scenes is not None
    return tuple(law_module(name) for name in run.config.scenes.used_laws)


def arcs_inputs(run: Run, label: str) -> tuple[str, ...]:
    """The patches (for their coordinates) and the Sun's track, if draws of arcs need them."""
    places = {draw.place for draw in run.config.arcs.test.values()}
    return (*some(places - {"assumed"}, "patches"), *some("ephemeris" in places, "ephemeris"))


def bridge(run: Run, name: str) -> dict[str, Any]:
    """Section of one training stage; budgets of earlier stages enter through their keys."""
    c, section, stage = run.config, run.system(name), SystemName.of(name).stage
    init = run.init(name)
    # Sampling and calibration do not change the weights; initial weights enter by their digest.
    unused: dict[str, Any] = {"calibrate": False, "calibration_margin": 1.0, "hit_share": 1.0, "init": None}
    unused |= {"sampler": any_sampler(section.process), "stages": BridgeStages()}
    with_arcs = stage in ("arcs", "missing")
    return {
        "stage": stage,
        "imperfections": c.imperfections.train,
        "bridge": section.model_copy(update=unused),
        "optimiser": getattr(section.stages, stage),
        "init": None if init is None else init.identity,
        "images": c.arcs.train.images if stage == "fibonacci" and c.arcs.fibonacci == "drawn" else None,
        "arcs": {"tolerance": c.arcs.tolerance, "train": c.arcs.train} if with_arcs else None,
        "masks": c.masks.train if stage not in ("fibonacci", "arcs") else None,
        "scenes": _scene_draw(run) if stage in SCENE_STAGES else None,
    }


def _scene_draw(run: Run) -> dict[str, Any]:
    c = run.config
    assert c.scenes is not None
    keys = (
        "altimetry_share",
        "cell_error_share",
        "cell_error_px",
        "unexpected_share",
        "pairs_share",
        "images_power",
    )
    drawn = {key: getattr(c.scenes, key) for key in keys}
    return {"apriori": c.patches.apriori, "altimetry": c.altimetry, **drawn}


def bridge_inputs(run: Run, name: str) -> tuple[str, ...]:
    """The VAE in latent space, the previous stage, and the Sun's track if arcs follow the ephemeris."""
    before, with_arcs = run.previous(name), SystemName.of(name).stage in ("arcs", "missing")
    return (
        *some(run.system(name).space == "latent", "vae"),
        *some(before, str(before)),
        *some(with_arcs and run.config.arcs.train.place == "ephemeris", "ephemeris"),
    )


def calibration(run: Run, name: str) -> dict[str, Any]:
    """Section of the calibration of a trained system: the light and the images that it is fitted under."""
    section, stage = run.system(name), SystemName.of(name).stage
    return {
        "stage": stage,
        "scenes": _scene_draw(run) if stage in SCENE_STAGES else None,
        "masks": run.config.masks.train if stage in SCENE_STAGES else None,
        "main": run.main_draw,
        "imperfections": run.config.imperfections.train,
        "sampler": section.sampler,
        "seed": section.seed,
        "margin": section.calibration_margin,
        "hit_share": section.hit_share,
    }


def calibration_inputs(run: Run, name: str) -> tuple[str, ...]:
    """The VAE in latent space, and the Sun's track if the main condition follows the ephemeris."""
    suns = some(run.main_draw.place == "ephemeris", "ephemeris")
    return (*some(run.system(name).space == "latent", "vae"), *suns)


def rival(run: Run, name: str) -> dict[str, Any]:
    """Section of a learned rival's training, without its sampler, which does not change the weights."""
    c, options = run.config, run.config.predictors.options(name)
    own = options.trained() if isinstance(options, RivalSection) else options
    return {
        "name": name,
        "module": run.predictors[name].train,
        "options": {} if own is None else own.model_dump(mode="json", exclude={"weights"}),
        "imperfections": c.imperfections.train,
        "arcs": {"tolerance": c.arcs.tolerance, "train": c.arcs.train},
        "masks": c.masks.train,
        "scenes": None if c.scenes is None else _scene_draw(run),
    }


def predictor(run: Run, name: str) -> dict[str, Any]:
    """Section of a predictor's evaluation, with only the keys that its kind uses."""
    c, entry = run.config, run.predictors[name]
    out = {key: getattr(c.evaluation, key) for key in ("max_patches", "batch", "bootstrap", "seed")}
    out |= {"name": name, "module": entry.module, "make": entry.make, "floor": entry.floor}
    options = run.options(name)
    if options is not None:
        out["options"] = options.model_dump(mode="json", exclude={"weights"})
    if entry.images:
        out["conditions"] = _conditions(run, name)
        out |= {"photometry": c.photometry, "imperfections": c.imperfections.test}
        if any(condition.light == "scenes" for condition in out["conditions"].values()):
            out |= {"scenes": _test_draw(run), "masks": c.masks.test}
    if entry.draws:
        out["members"] = getattr(options, "members", c.evaluation.members)
    given = run.given_to(name)
    weights = {} if given is None else given.identity
    out["vae"] = run.vae_of(name)
    return out | {"weights": {k: v for k, v in weights.items() if k.partition(".")[0] in entry.files}}


def _test_draw(run: Run) -> dict[str, Any]:
    """Draw of rendered scenes in a test: all images of a set once, exact block means as a priori DEM.

    Altimetry, if a condition uses it, has the spots of a finished product.
    """
    drawn = _scene_draw(run)
    here = drawn["altimetry"].finished
    unused = dict.fromkeys(("altimetry_share", "cell_error_share", "unexpected_share", "pairs_share"), 0.0)
    return drawn | unused | {"apriori": "cells", "images_power": 0.0, "altimetry": here}


def _conditions(run: Run, name: str) -> dict[str, Condition]:
    """The conditions under which a predictor is scored; rivals are scored under all of them."""
    c = run.config
    return {
        label: condition.model_copy(update={"systems": "all"})
        for label, condition in c.evaluation.conditions.items()
        if name not in run.scored
        or (name == c.primary and condition.systems != "rivals")
        or condition.systems == "all"
        or (condition.systems == "last" and run.last(name))
    }


def predictor_code(run: Run, name: str) -> tuple[str, ...]:
    """Modules of the predictor and of the reflectance laws: of its images, and of its own renderings."""
    entry = run.predictors[name]
    own = getattr(getattr(run.config.predictors, name, None), "reflectance", None)
    laws = (*(law(run, name) if entry.images else ()), *(() if own is None else (law_module(own),)))
    return (entry.module, *dict.fromkeys(laws))


def region_inputs(run: Run, label: str) -> tuple[str, ...]:
    """The Sun's track if the region's light follows it, and the stages of the primary system's weights."""
    suns = some(run.config.region.light.place == "ephemeris", "ephemeris")
    return (*suns, *run.weights_stages(run.config.primary).values())


# Clones of the first reconstruction, of which only the mean is used.
_FIRST_MEMBERS = 4


def site(run: Run, label: str) -> dict[str, Any]:
    """Section of a site: file names instead of paths, and the digests of the files."""
    assert run.site is not None
    return {"site": run.site.named(run.config.site), "files": run.site.identity}


def _map_clones(run: Run, members: int, **more: Any) -> dict[str, Any]:
    """Section of clones; keys that only later stages depend on have their defaults."""
    unused = ("steep_deg", "clones", "fallback", "use_all", "std", "members")
    drawn = run.config.map.model_copy(update={key: MapSection.model_fields[key].default for key in unused})
    sampler = run.config.pretrained.sampler
    return {"map": drawn, "sampler": sampler, "weights": run.weights, "members": members, **more}


def clones_first(run: Run, label: str) -> dict[str, Any]:
    """Section of the few clones of the first reconstruction."""
    return _map_clones(run, min(_FIRST_MEMBERS, run.config.map.members), role="first")


def first(run: Run, label: str) -> dict[str, Any]:
    """Section of the first reconstruction, the mean of these clones."""
    found = clones_first(run, label)
    return {key: found[key] for key in ("map", "members")}


def clones(run: Run, label: str) -> dict[str, Any]:
    """Section of the clones of a map."""
    return _map_clones(run, run.config.map.members)


def clones_all(run: Run, label: str) -> dict[str, Any]:
    """Section of the clones that use the withheld images too."""
    return _map_clones(run, run.config.map.members, role="all")


def products(run: Run, label: str) -> dict[str, Any]:
    """Section of a map's products."""
    assert run.site is not None
    return {
        "site": run.site.named(run.config.site),
        "sampler": run.config.pretrained.sampler,
        "weights": run.weights,
        "config": run.key,
    }
