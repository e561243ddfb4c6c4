"""All systems of a config on challenge sets: `python benchmarks/systems.py SETS --out FILE`.

Every predictor that the config scores (config/systems.yaml: given weights) gets the same prepared images of
the same adjacent windows within the truth; images are prepared by the workflow, as for
`benchmarks/challenge.py`. Kriging, shape from shading and bridges that refine (`bridge.refine`) use altimetry
if there is any; the others use block means of the DEM. FILE is JSON of schema ``challenge/1``: rows as in
``metrics.json``, by set and a priori DEM; if it is docs/results/metrics/challenge.json, docs/results.md
shows it. Rows of systems that are not scored now stay as they are in FILE.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from snakemake.utils import update_config

from challenge import ROOT, made, truth_of
from pipeline.config.root import load_config
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation.metrics import PatchScores
from pipeline.jobs.seeds import seeded
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import MapImages, read_prepared
from pipeline.predictors.bridge import Bridge
from pipeline.predictors.interface import Predictor, Setup
from pipeline.provenance.plan import Plan
from pipeline.region.windows import Window
from pipeline.storage.atomic import read_json, write_json
from shading import Site

_CLONES, _RANKS, _CELLS = 0xC10E5, 0x4A9C, 2
# Predictors that take heights along tracks and counts of spots.
_ALTIMETRY = ("pipeline.predictors.kriging", "pipeline.predictors.sfs")


def planned(configs: list[Path]) -> Plan:
    """Plan of a config and its overlays, with any window of its terrain."""
    raw: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for path in configs:
        update_config(raw, yaml.safe_load(path.read_text()))
    raw["inputs"] = {**raw["inputs"], "dem": "synthetic", "count": None}
    return Plan(load_config(raw), ROOT)


def predictors(
    plan: Plan, grid: dict[str, Any], only: list[str]
) -> Iterator[tuple[PredictorStage, Predictor]]:
    """The plan's predictors of these names, except floors."""
    for name, entry in plan.predictors.items():
        if name in only and not entry.floor:
            section = PredictorStage.model_validate_json(plan[f"evaluation_{name}"].section)
            files = {
                role: [str(ROOT / path) for path in paths] for role, paths in plan.files_of(name).items()
            }
            make = getattr(import_module(section.module), section.make)
            yield section, make(Setup(grid, section.options, files))


def takes_altimetry(section: PredictorStage, predictor: Predictor) -> bool:
    """Whether a predictor takes heights along tracks and counts of spots."""
    if isinstance(predictor, Bridge):
        return predictor.system.section.refine
    return section.module in _ALTIMETRY


def windows(site: Site, factor: int) -> Iterator[tuple[Window, NDArray[np.float64]]]:
    """Adjacent windows within the truth, from the first whole cell on, and the truth there."""
    layout, size = site.ground.layout, site.size
    first = [-(-start // factor) * factor for start in (layout.row, layout.col)]
    ends = layout.row + layout.height, layout.col + layout.width
    for row in range(first[0], ends[0] - size + 1, size):
        for col in range(first[1], ends[1] - size + 1, size):
            here = site.truth[row - layout.row :, col - layout.col :][:size, :size]
            if np.isfinite(here).all():
                yield Window(row, col, size), here


@torch.no_grad()
def scored(site: Site, section: PredictorStage, predictor: Predictor, factor: int) -> dict[str, Any]:
    """Pooled scores of a predictor on a set's windows."""
    scores = None
    for window, truth in windows(site, factor):
        batch = site.batch(window, predictor.halo_cells, takes_altimetry(section, predictor))
        place = (window.row, window.col)
        found = predictor.sample(batch, section.members, [seeded(section.seed, _CLONES, *place)])[0]
        members, known = found.double().numpy(), truth - float(batch.reference[0])
        scores = scores or PatchScores(float(batch.pixel_m[0]))
        if len(members) == 1:
            scores.add(members[0], known)
        else:
            rng = np.random.default_rng([section.seed, _RANKS, *place])
            scores.add_ensemble(members, known, rng)
    assert scores is not None, "expected a window within the truth"
    return scores.summary(section.bootstrap, section.seed)


def main() -> None:
    """Write the scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", type=Path, nargs="+", help="folders of sets")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--config", type=Path, nargs="+", default=[ROOT / "config/systems.yaml"])
    parser.add_argument("--apriori", nargs="+", default=["prior_640m", "ldem_40m"], help="DEMs, without .tif")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="score these systems of the config only")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan = planned(options.config)
    patches = plan.config.patches
    grid = {"size_px": patches.size_px, "factor": patches.factor, "halo_px": _CELLS * patches.factor}
    only = options.only or list(plan.predictors)
    if unknown := sorted({*only} - {*plan.predictors}):
        parser.error(f"--only: expected names among {', '.join(plan.predictors)}, found {unknown[0]}")
    made_of = list(predictors(plan, {**grid, "pixel_m": plan.config.inputs.pixel_m}, only))
    kept = read_json(options.out, "challenge/1") if options.out.is_file() else {"sets": {}}
    sets: dict[str, dict[str, Any]] = kept["sets"]
    for folder in options.sets:
        for apriori in options.apriori:
            map_plan, _, _ = made(folder, apriori, {}, options.cores, "map_images")
            ground = SiteGround.load(map_plan["map_site"].path("ground.zarr.zip"))
            stores = sorted((ROOT / map_plan["map_images"].folder).glob("chunk_*.zarr.zip"))
            images = MapImages(read_prepared(stores, "map"), ground.layout.grid)
            site = Site(ground, images, truth_of(folder), patches.size_px)
            rows = sets.setdefault(f"{folder.name}, {apriori}", {})
            for section, predictor in made_of:
                rows[section.name] = scored(site, section, predictor, patches.factor)
                error = rows[section.name]["rmse_m"]
                print(f"{folder.name} {apriori} {section.name}: {error:.2f} m", flush=True)
    write_json(options.out, {"schema": "challenge/1", "sets": sets})


if __name__ == "__main__":
    main()
