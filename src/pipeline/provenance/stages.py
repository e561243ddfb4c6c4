"""All stages, each declared once: when it is part of a run, its section, its code and its inputs.

Declarations are data: `pipeline.provenance.plan` makes keys and folders of them; the rules take names,
sections and files from the plan. Nothing here imports what the stages compute with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config.base import Section
from pipeline.config.coverage import CoverageSection
from pipeline.config.stages.calibration import CalibrationStage
from pipeline.config.stages.evaluation import CollectStage, PredictorStage
from pipeline.config.stages.light import ArcsStage, EphemerisStage, FarStage, MasksStage, VisibilityStage
from pipeline.config.stages.region import RegionStage
from pipeline.config.stages.report import BundleStage, ReportStage
from pipeline.config.stages.shards import ManifestStage, ShardsStage
from pipeline.config.stages.terrain import PatchesStage, SplitStage, TerrainStage
from pipeline.config.stages.training import BridgeStage, RivalStage, VaeStage
from pipeline.config.synthetic import SyntheticSection
from pipeline.provenance import sections
from pipeline.provenance.run import Run
from pipeline.provenance.sections import some, values
from pipeline.region.source import SOURCES


@dataclass(frozen=True)
class Declaration:
    """One kind of stage.

    Attributes
    ----------
    name : of the stage; ``{}`` stands for a label.
    kind : class of its section, which its function takes.
    section : keys of the section, of a run and a label.
    code : modules whose import closure enters the key; a module that a registry names is added by `chosen`.
    inputs : stages that it reads, of a run and a label.
    over : labels; one stage each. A single stage has the label ''.
    stored : whether results live in the store, or in the run's own folder.
    chosen : modules that the config chooses from registries.
    local : paths that enter the key of the folder but not what later stages depend on.
    """

    name: str
    kind: type[Section]
    section: Callable[[Run, str], Mapping[str, Any]]
    code: tuple[str, ...]
    inputs: Callable[[Run, str], tuple[str, ...]]
    over: Callable[[Run], Sequence[str]] = lambda run: ("",)
    stored: bool = True
    chosen: Callable[[Run, str], tuple[str, ...]] = lambda run, label: ()
    local: Callable[[Run], Any] = lambda run: None


def _once_if(condition: Callable[[Run], Any]) -> Callable[[Run], tuple[str, ...]]:
    """The one label of a single stage, where the run has it."""
    return lambda run: some(condition(run), "")


_TRAINS = _once_if(lambda run: run.config.systems)

#: In an order in which every stage comes after those that it reads.
DECLARATIONS = (
    Declaration(
        "synthetic",
        SyntheticSection,
        lambda run, _: values(run.config.synthetic),
        ("pipeline.terrain.synthetic.world",),
        lambda run, _: (),
        over=_once_if(lambda run: run.config.inputs.synthetic),
    ),
    Declaration(
        "terrain",
        TerrainStage,
        lambda run, _: {"pixel_m": run.config.inputs.pixel_m, "files": run.found.files.identity},
        ("pipeline.terrain.index",),
        lambda run, _: some(run.config.inputs.synthetic, "synthetic"),
        local=lambda run: None if run.config.inputs.synthetic else run.found.files.local,
    ),
    Declaration(
        "patches",
        PatchesStage,
        lambda run, _: values(run.config.patches, "size_px", "halo_px", "stride_px", "tiles"),
        ("pipeline.terrain.extract",),
        lambda run, _: ("terrain",),
    ),
    Declaration(
        "selected",
        CoverageSection,
        lambda run, _: values(run.config.coverage),
        ("pipeline.terrain.coverage",),
        lambda run, _: ("patches",),
    ),
    Declaration(
        "split",
        SplitStage,
        lambda run, _: {"split": run.config.split, "size_px": run.config.patches.size_px},
        ("pipeline.terrain.split",),
        lambda run, _: ("selected",),
    ),
    Declaration(
        "far",
        FarStage,
        lambda run, _: values(run.config.illumination, "far_cell_px"),
        ("pipeline.illumination.far_blocks",),
        lambda run, _: ("terrain",),
        over=_once_if(sections.far),
    ),
    Declaration(
        "visibility",
        VisibilityStage,
        lambda run, _: {"illumination": run.config.illumination, "size_px": run.config.patches.size_px},
        ("pipeline.illumination.trace",),
        lambda run, _: ("patches", "selected", *sections.far(run)),
    ),
    Declaration(
        "ephemeris",
        EphemerisStage,
        lambda run, _: {
            "ephemeris": run.config.ephemeris.model_copy(update={"kernels": run.found.kernels}),
            "spiceypy": run.found.spiceypy,
        },
        ("pipeline.illumination.ephemeris",),
        lambda run, _: (),
        over=_once_if(lambda run: run.found.kernels),
    ),
    Declaration(
        "arcs",
        ArcsStage,
        lambda run, _: values(run.config.arcs, "tolerance", "test", "seed"),
        ("pipeline.illumination.arcs",),
        lambda run, _: (
            *("selected", "split", "visibility"),
            *some(sections.test_places(run) - {"assumed"}, "patches"),
            *some("ephemeris" in sections.test_places(run), "ephemeris"),
        ),
    ),
    Declaration(
        "masks",
        MasksStage,
        lambda run, _: {
            **values(run.config.masks, "test", "seed"),
            **values(run.config.patches, "size_px"),
        },
        ("pipeline.illumination.masks",),
        lambda run, _: ("arcs", *some(run.config.masks.test.kind == "nac", "patches")),
    ),
    Declaration(
        "shards",
        ShardsStage,
        lambda run, _: values(run.config.patches, "factor"),
        ("pipeline.shards.write",),
        lambda run, _: ("patches", "split", "visibility"),
        over=_TRAINS,
    ),
    Declaration(
        "shards_test",
        ShardsStage,
        lambda run, _: {
            **values(run.config.patches, "factor"),
            "radiance": run.config.photometry if run.config.shards.radiance else None,
        },
        ("pipeline.shards.write",),
        lambda run, _: ("patches", "split", "visibility", "arcs", "masks"),
        chosen=lambda run, label: some(
            run.config.shards.radiance, "pipeline.shards.radiance", *sections.law(run, label)
        ),
    ),
    Declaration(
        "manifest_test",
        ManifestStage,
        lambda run, _: {},
        ("pipeline.shards.manifest",),
        lambda run, _: ("shards_test",),
    ),
    Declaration(
        "manifest",
        ManifestStage,
        lambda run, _: values(run.config.shards, "statistics_patches"),
        ("pipeline.shards.manifest",),
        lambda run, _: ("shards",),
        over=_TRAINS,
    ),
    Declaration(
        "vae",
        VaeStage,
        lambda run, _: {
            "vae": run.config.vae.model_copy(update={"lpips_weights": run.found.lpips}),
            "training": run.config.training,
        },
        ("pipeline.training.vae",),
        lambda run, _: ("manifest",),
        over=_TRAINS,
    ),
    Declaration(
        "{}",
        BridgeStage,
        sections.bridge,
        ("pipeline.training.bridge",),
        sections.bridge_inputs,
        over=lambda run: [str(name) for name in run.trained],
        chosen=sections.law,
    ),
    Declaration(
        "{}",
        RivalStage,
        sections.rival,
        ("pipeline.training.rival",),
        lambda run, _: ("manifest", *some(run.config.arcs.train.place == "ephemeris", "ephemeris")),
        over=lambda run: run.learned,
        chosen=lambda run, name: (run.predictors[name].train, *sections.law(run, name)),
    ),
    Declaration(
        "calibration_{}",
        CalibrationStage,
        sections.calibration,
        ("pipeline.calibration.stage",),
        sections.calibration_inputs,
        over=lambda run: run.calibrated,
        chosen=sections.law,
    ),
    Declaration(
        "evaluation_{}",
        PredictorStage,
        sections.predictor,
        ("pipeline.evaluation.stage",),
        lambda run, name: ("manifest_test", *run.weights_stages(name)),
        over=lambda run: list(run.predictors),
        stored=False,
        chosen=sections.predictor_code,
    ),
    Declaration(
        "evaluation",
        CollectStage,
        lambda run, _: values(run.config, "primary", "systems"),
        ("pipeline.evaluation.collect",),
        lambda run, _: tuple(f"evaluation_{name}" for name in run.predictors),
        stored=False,
    ),
    Declaration(
        "region",
        RegionStage,
        sections.region,
        ("pipeline.region.reconstruct",),
        sections.region_inputs,
        stored=False,
        chosen=lambda run, label: (SOURCES["rendered"], *sections.law(run, label)),
    ),
    Declaration(
        "report",
        ReportStage,
        sections.report,
        ("pipeline.report.page",),
        lambda run, _: (
            *("evaluation", "region", "manifest_test"),
            *some(run.config.systems, "manifest", "vae", *map(str, run.trained)),
        ),
        stored=False,
        chosen=sections.law,
    ),
    Declaration(
        "bundle",
        BundleStage,
        lambda run, _: {"bundle": run.config.bundle, "config": run.key},
        ("pipeline.bundle.write",),
        lambda run, _: ("report",),
        stored=False,
    ),
)
