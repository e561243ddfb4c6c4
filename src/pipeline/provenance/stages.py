"""All stages, each declared once: when it is part of a run, its section, its code and its inputs.

Declarations are data: `pipeline.provenance.plan` computes keys and folders from them; the rules take names,
sections and files from the plan. The code of the stages is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.base import Section
from pipeline.config.coverage import CoverageSection
from pipeline.config.stages.calibration import CalibrationStage
from pipeline.config.stages.evaluation import CollectStage, PredictorStage
from pipeline.config.stages.light import (
    ArcsStage,
    EphemerisStage,
    FarStage,
    MasksStage,
    ScenesStage,
    VisibilityStage,
)
from pipeline.config.stages.maps import (
    BlendStage,
    CheckStage,
    ClonesStage,
    MapStage,
    PrepareStage,
    SiteStage,
)
from pipeline.config.stages.region import RegionStage
from pipeline.config.stages.report import BundleStage, ReportStage
from pipeline.config.stages.shards import ManifestStage, ShardsStage
from pipeline.config.stages.terrain import PatchesStage, SplitStage, TerrainStage
from pipeline.config.stages.training import BridgeStage, RivalStage, VaeStage
from pipeline.config.synthetic import SyntheticSection
from pipeline.provenance import sections
from pipeline.provenance.run import Run
from pipeline.provenance.sections import some
from pipeline.region.source import SOURCES


@dataclass(frozen=True)
class Declaration:
    """One kind of stage.

    Attributes
    ----------
    name : of the stage; ``{}`` stands for a label.
    kind : class of its section, which its function takes.
    code : module whose import closure enters the key; a module that a registry names is added by `chosen`.
    inputs : stages that it reads if the run has them; ``{}`` stands for the label.
    of : parts of the config that fill the section's fields by name, see `sections.filled`.
    section : function of a run and a label that returns all other fields.
    also : function of a run and a label that returns further stages that it reads.
    over : function of a run that returns labels, one per stage. A single stage has the label ''.
    stored : whether results are in the store, or in the run's own folder.
    chosen : function of a run and a label that returns modules chosen from registries.
    local : function of a run that returns local paths, which enter the key but not the identity.
    """

    name: str
    kind: type[Section]
    code: str
    inputs: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    section: Callable[[Run, str], Mapping[str, Any]] = lambda run, label: {}
    also: Callable[[Run, str], Iterable[str]] = lambda run, label: ()
    over: Callable[[Run], Iterable[str]] = lambda run: ("",)
    stored: bool = True
    chosen: Callable[[Run, str], tuple[str, ...]] = lambda run, label: ()
    local: Callable[[Run], Any] = lambda run: None


def _once_if(condition: Callable[[Run], Any]) -> Callable[[Run], tuple[str, ...]]:
    """The label '' of a single stage if the condition holds, else no label."""
    return lambda run: some(condition(run), "")


_TRAINS = _once_if(lambda run: run.config.systems)

#: In an order in which every stage comes after those that it reads.
DECLARATIONS = (
    Declaration(
        "synthetic", SyntheticSection, "pipeline.terrain.synthetic.world", of=("synthetic",),
        over=_once_if(lambda run: run.config.inputs.synthetic),
    ),
    Declaration(
        "terrain", TerrainStage, "pipeline.terrain.index", ("synthetic",), of=("inputs",),
        section=lambda run, _: {"files": run.files.identity},
        local=lambda run: None if run.config.inputs.synthetic else run.files.local,
    ),
    Declaration("patches", PatchesStage, "pipeline.terrain.extract", ("terrain",), of=("patches",)),
    Declaration("selected", CoverageSection, "pipeline.terrain.coverage", ("patches",), of=("coverage",)),
    Declaration(
        "split", SplitStage, "pipeline.terrain.split", ("selected",), of=(".", "patches"),
        section=sections.split,
    ),
    Declaration(
        "far", FarStage, "pipeline.illumination.far_blocks", ("terrain",), of=("illumination",),
        section=lambda run, _: {
            "coarse": run.found.far,
            "reach_m": run.config.illumination.far_m if run.found.far else 0.0,
        },
        over=_once_if(lambda run: run.config.illumination.far_m > 0),
    ),
    Declaration(
        "visibility", VisibilityStage, "pipeline.illumination.trace", ("patches", "selected", "far"),
        of=(".", "patches"),
    ),
    Declaration(
        "scenes", ScenesStage, "pipeline.illumination.scenes", ("patches", "split", "far"),
        of=(".", "illumination", "patches"), section=sections.rendered, chosen=sections.scenes_laws,
        over=_once_if(lambda run: run.config.scenes and run.config.systems),
    ),
    Declaration(
        "scenes_test", ScenesStage, "pipeline.illumination.scenes", ("patches", "split", "far"),
        of=(".", "illumination", "patches"), section=sections.rendered_test, chosen=sections.scenes_laws,
        over=_once_if(lambda run: run.config.tests_scenes),
    ),
    Declaration(
        "ephemeris", EphemerisStage, "pipeline.illumination.ephemeris",
        section=lambda run, _: {
            "ephemeris": run.config.ephemeris.model_copy(update={"kernels": run.found.kernels}),
            "spiceypy": run.found.spiceypy,
        },
        over=_once_if(lambda run: run.found.kernels),
    ),
    Declaration(
        "arcs", ArcsStage, "pipeline.illumination.arcs", ("selected", "split", "visibility"), of=("arcs",),
        also=sections.arcs_inputs,
    ),
    Declaration(
        "masks", MasksStage, "pipeline.illumination.masks", ("arcs",), of=("masks", "patches"),
        also=lambda run, _: some(run.config.masks.test.kind == "nac", "patches"),
    ),
    Declaration(
        "shards", ShardsStage, "pipeline.shards.write", ("patches", "split", "visibility", "scenes"),
        of=("patches",), over=_TRAINS,
    ),
    Declaration(
        "shards_test", ShardsStage, "pipeline.shards.write",
        ("patches", "split", "visibility", "arcs", "masks", "scenes_test"), of=("patches",),
        section=lambda run, _: {"radiance": run.config.photometry} if run.config.shards.radiance else {},
        chosen=lambda run, label: some(
            run.config.shards.radiance, "pipeline.shards.radiance", *sections.law(run, label)
        ),
    ),
    Declaration("manifest_test", ManifestStage, "pipeline.shards.manifest", ("shards_test",)),
    Declaration(
        "manifest", ManifestStage, "pipeline.shards.manifest", ("shards",), of=("shards",), over=_TRAINS
    ),
    Declaration(
        "vae", VaeStage, "pipeline.training.vae", ("manifest",), of=(".",),
        section=lambda run, _: {"vae": run.config.vae.model_copy(update={"lpips_weights": run.found.lpips})},
        over=_TRAINS,
    ),
    Declaration(
        "{}", BridgeStage, "pipeline.training.bridge", ("manifest",), of=(".",),
        section=sections.bridge, also=sections.bridge_inputs,
        over=lambda run: run.systems, chosen=sections.law,
    ),
    Declaration(
        "{}", RivalStage, "pipeline.training.rival", ("manifest",), of=(".",), section=sections.rival,
        also=lambda run, _: some(run.config.arcs.train.place == "ephemeris", "ephemeris"),
        over=lambda run: run.learned,
        chosen=lambda run, name: (run.predictors[name].train, *sections.law(run, name)),
    ),
    Declaration(
        "calibration_{}", CalibrationStage, "pipeline.calibration.stage", ("{}", "manifest"),
        of=(".", "arcs", "training"), section=sections.calibration, also=sections.calibration_inputs,
        over=lambda run: run.calibrated, chosen=sections.law,
    ),
    Declaration(
        "evaluation_{}", PredictorStage, "pipeline.evaluation.stage", ("manifest_test",), of=("training",),
        section=sections.predictor, also=lambda run, name: run.weights_stages(name).values(),
        over=lambda run: run.predictors, stored=False, chosen=sections.predictor_code,
    ),
    Declaration(
        "evaluation", CollectStage, "pipeline.evaluation.collect", of=(".",),
        also=lambda run, _: (f"evaluation_{name}" for name in run.predictors), stored=False,
    ),
    Declaration(
        "region", RegionStage, "pipeline.region.reconstruct", ("terrain", "split", "far"),
        of=(".", "arcs", "patches", "training"),
        section=lambda run, _: {"sampler": run.sampler(run.config.primary), "weights": run.weights},
        also=sections.region_inputs, stored=False,
        chosen=lambda run, label: (SOURCES["rendered"], *sections.law(run, label)),
    ),
    Declaration(
        "report", ReportStage, "pipeline.report.page",
        ("evaluation", "region", "manifest_test", "manifest", "vae"), of=(".",),
        section=lambda run, _: {"config": run.key, "pretrained": run.given and run.given.facts},
        also=lambda run, _: run.systems, stored=False, chosen=sections.law,
    ),
    Declaration(
        "bundle", BundleStage, "pipeline.bundle.write", ("report",), of=(".",),
        section=lambda run, _: {"config": run.key}, stored=False,
    ),
)  # fmt: skip

_IMAGES = _once_if(lambda run: run.site and run.site.paths["images"])
_ALL = _once_if(lambda run: run.site and run.site.paths["images"] and run.config.map.use_all)

#: The stages of a run that makes a map of a site.
MAPS = (
    Declaration(
        "map_site", SiteStage, "pipeline.maps.site", of=(".", "patches"), section=sections.site,
        local=lambda run: run.site and run.site.paths,
    ),
    Declaration(
        "map_images_first", PrepareStage, "pipeline.maps.prepare", ("map_site",), of=(".", "training"),
        section=lambda run, _: {"again": False}, over=_IMAGES, chosen=sections.map_laws,
    ),
    Declaration(
        "map_clones_first", ClonesStage, "pipeline.maps.windows", ("map_site", "map_images_first"),
        of=(".", "training"), section=sections.clones_first, over=_IMAGES,
    ),
    Declaration(
        "map_first", BlendStage, "pipeline.maps.first", ("map_site", "map_clones_first"), of=(".",),
        section=sections.first, over=_IMAGES,
    ),
    Declaration(
        "map_images", PrepareStage, "pipeline.maps.prepare", ("map_site", "map_images_first", "map_first"),
        of=(".", "training"),
        section=lambda run, _: {"again": True}, over=_IMAGES, chosen=sections.map_laws,
    ),
    Declaration(
        "map_clones", ClonesStage, "pipeline.maps.windows", ("map_site", "map_images"), of=(".", "training"),
        section=sections.clones,
    ),
    Declaration(
        "map_check", CheckStage, "pipeline.maps.check", ("map_site", "map_images", "map_clones"),
        of=(".", "training"), chosen=sections.map_laws,
    ),
    Declaration(
        "map_clones_all", ClonesStage, "pipeline.maps.windows", ("map_site", "map_images"),
        of=(".", "training"), section=sections.clones_all, over=_ALL,
    ),
    Declaration(
        "map", MapStage, "pipeline.maps.make",
        ("map_site", "map_images", "map_clones", "map_check", "map_clones_all"), of=(".",),
        section=sections.products, stored=False, chosen=sections.map_laws,
    ),
)  # fmt: skip
