"""Cost of each realistic imperfection for weights trained on rendered scenes, on their validation sites.

Image sets of the validation patches are rendered again, and each condition changes one thing: it removes one
imperfection of the light or of the cameras, or changes the error of the block means, a shift of the images,
the number of images or the coverage of the altimetry. All conditions have the same random numbers. Needs the
patches of the config: `snakemake --configfile config/moon.yaml -c2 shards` first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pipeline
from configured import ROOT, configured, update
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.pretrained import PretrainedSection
from pipeline.config.scene_draw import SceneDraw
from pipeline.config.stages.light import ScenesStage
from pipeline.config.stages.training import BridgeStage
from pipeline.illumination.scenes import render_tile
from pipeline.jobs.seeds import seeded
from pipeline.models.batch import Batch
from pipeline.models.refinement import refined
from pipeline.models.system import System
from pipeline.provenance.plan import Plan
from pipeline.shards.reader import Shard
from pipeline.shards.scene_samples import SceneSample, assemble_scenes, read_scene
from pipeline.shards.write import write_shard
from pipeline.storage.atomic import read_json, write_json

_SEED, _BATCH = 0x4EA1, 8
#: Imperfections of the light, which are rendered, and of the cameras: the change that removes each.
LIGHT: dict[str, dict[str, Any]] = {
    "Suns above 7 deg": {"suns": {"own": 0.0, "latitude": [60, 80], "elevation": [7, 80]}},
    "Lambert's law": {"laws": ["lambert"]},
    "no shift": {"shift_px": 0.0, "common_px": 0.0},
    "no relief factor": {"gentle": 0.0},
}
CAMERAS: dict[str, dict[str, Any]] = {
    "one albedo": {"albedo": {"rms": 0.0}, "albedo_blocks": {"rms": 0.0}, "albedo_spots": {"count": 0.0}},
    "no noise": {"noise": {"snr": None}},
    "no haze or dark floor": {"dark": {"offset": 0.0, "ramp": 0.0}},
    "equal exposures": {"exposure": 0.0},
    "no clipping": {"clip": 0.0},
    "no steps": {"quantise_bits": None},
    "right Suns": {"sun_deg": 0.0},
    "no wrong images": {"wrong": 0.0},
    "perfect cameras": {"share": 0.0},
}


@dataclass(frozen=True)
class Condition:
    """A condition: changes of the sections, largest number of images, and their shift in pixels."""

    name: str
    apriori: str
    light: Mapping[str, Any] = field(default_factory=dict)
    cameras: Mapping[str, Any] = field(default_factory=dict)
    draw: Mapping[str, Any] = field(default_factory=dict)
    swaths: bool = True
    images: int = 20
    moved_px: int = 0


def conditions() -> Iterator[Condition]:
    """All rows of the table."""
    dense = {"altimetry": {"coverage": [0.6, 0.6], "shifted": 0.0}}
    for apriori, draw in (("cells", {}), ("altimetry", dense)):
        yield Condition("all realities", apriori, draw=draw)
        for name, changes in LIGHT.items():
            yield Condition(name, apriori, light=changes, draw=draw)
        for name, changes in CAMERAS.items():
            yield Condition(name, apriori, cameras=changes, draw=draw)
        yield Condition("whole images", apriori, draw=draw, swaths=False)
        for pixels in (1, 2):
            yield Condition(f"images moved by {pixels} px", apriori, draw=draw, moved_px=pixels)
        for count in (0, 1, 2, 5, 10, 40):
            yield Condition(f"{count} images", apriori, draw=draw, images=count)
    for metres in (0.5, 1.0, 2.0, 5.0):
        off = {"cell_error_share": 1.0, "cell_error_px": [metres / 40, metres / 40]}
        yield Condition(f"cells off by {metres:g} m", "cells", draw=off)
    for pixels in (1.0, 2.0):
        off = {"altimetry": {"coverage": [0.6, 0.6], "shifted": 1.0, "shift_px": pixels}}
        yield Condition(f"altimetry off by {pixels:g} px per axis (std)", "altimetry", draw=off)
    for share in (0.03, 0.1, 0.2, 0.4, 0.9):
        draw = {"altimetry": {"coverage": [share, share], "shifted": 0.0}}
        yield Condition(f"coverage {share:g}", "altimetry", draw=draw)


def changed(section: Any, changes: Mapping[str, Any]) -> Any:
    """A section with changed values, at any depth."""
    values = section.model_dump()
    update(values, changes)
    return type(section).model_validate(values)


class Sites:
    """Validation patches of a plan, rendered under any light."""

    def __init__(self, plan: Plan, scratch: Path, every: int) -> None:
        self.plan, self.scratch = plan, scratch
        self.stage = ScenesStage.model_validate_json(plan["scenes"].section)
        split = read_json(Path(plan["split"].path("split.json")), "split/1")
        ids = sorted(int(i) for i, label in split["patches"].items() if label == "validation")
        kept = {str(i) for i in ids[::every]}
        split["patches"] = {i: "validation" for i in split["patches"] if i in kept}
        self.split = scratch / "split.json"
        write_json(self.split, split)
        self._made: dict[str, list[Shard]] = {}

    def under(self, light: Mapping[str, Any]) -> list[Shard]:
        """Shards of one set of images per patch."""
        name = json.dumps(light, sort_keys=True)
        if name not in self._made:
            folder = self.scratch / f"light_{len(self._made)}"
            folder.mkdir()
            scenes = changed(self.stage.scenes, {"sets": 1, **light})
            self._made[name] = [
                self._shard(tile, folder, scenes) for tile in range(self.plan.config.patches.tiles)
            ]
        return self._made[name]

    def _shard(self, tile: int, folder: Path, scenes: Any) -> Shard:
        stores = [
            Path(self.plan[stage].path(f"tile_{tile:03d}.zarr.zip")) for stage in ("patches", "visibility")
        ]
        rendered, out = folder / f"scenes_{tile}.zarr.zip", folder / f"shard_{tile}.zarr.zip"
        stage = self.stage.model_copy(update={"scenes": scenes})
        far = Path(self.plan["far"].path("far.zarr.zip")) if self.stage.far_m > 0 else None
        render_tile(stores[0], self.split, stage, rendered, 2, far)
        write_shard("validation", *stores, self.split, self.stage.factor, out, scenes_store=rendered)
        return Shard(out)


def samples(condition: Condition, sites: Sites, draw: SceneDraw, masks: Any, halo: int) -> list[SceneSample]:
    """One sample per patch."""
    whole = {
        "apriori": condition.apriori,
        "cell_error_share": 0.0,
        "images_power": 0.0,
        "unexpected_share": 0.0,
    }
    section = changed(draw, {**whole, **condition.draw})
    out = []
    for shard in sites.under(condition.light):
        for patch in range(len(shard)):
            rng = np.random.default_rng([_SEED, int(shard.ids[patch])])
            found = read_scene(shard, patch, rng, section, masks if condition.swaths else None, halo)
            few = slice(0, condition.images)
            strips = None if found.strips is None else found.strips[few]
            out.append(
                replace(
                    found,
                    images=found.images[few],
                    suns=found.suns[few],
                    expected=found.expected[few],
                    strips=strips if condition.images else None,
                )
            )
    return out


def moved(batch: Batch, pixels: int) -> Batch:
    """Images moved down and to the right."""
    maps = {name: getattr(batch, name).roll((pixels, pixels), (2, 3)) for name in ("images", "valid")}
    return replace(batch, **maps) if pixels else batch


def without_images(batch: Batch, factor: int) -> Tensor:
    """(B, P, P) heights without images: bicubic of block means, or kriging of altimetry spots."""
    assert batch.cell_error is not None
    kriged = refined(replace(batch, present=torch.zeros_like(batch.present)), factor).batch.prior
    return torch.where(batch.cell_error.isinf()[:, None, None], kriged, batch.prior)


@torch.inference_mode()
def scored(
    condition: Condition,
    system: System,
    found: list[SceneSample],
    cameras: ImperfectionsSection,
    members: int,
) -> dict[str, float]:
    """RMSE of the a priori DEM and of the clones' mean, and the fair spread-skill ratio."""
    errors: dict[str, list[np.ndarray]] = {"before": [], "after": [], "variance": []}
    how = PretrainedSection().sampler
    for first in range(0, len(found), _BATCH):
        part = found[first : first + _BATCH]
        rngs = [np.random.default_rng([_SEED, 1, first + k]) for k in range(len(part))]
        batch = assemble_scenes(part, system.halo_cells, system.factor, "cpu", cameras, rngs)
        batch = moved(batch, condition.moved_px)
        sources = [seeded(_SEED, first + k) for k in range(len(part))]
        clones = system.sample(batch, members, sources, how).double()
        assert batch.dem is not None
        errors["before"].append(
            (without_images(batch, system.factor) - batch.dem).square().mean(dim=(1, 2)).numpy()
        )
        errors["after"].append((clones.mean(dim=1) - batch.dem).square().mean(dim=(1, 2)).numpy())
        errors["variance"].append(clones.var(dim=1).mean(dim=(1, 2)).numpy())
    before, after, variance = (float(np.concatenate(each).mean()) for each in errors.values())
    fair = (members + 1) / members
    return {"apriori_m": before**0.5, "rmse_m": after**0.5, "ssr": (fair * variance / after) ** 0.5}


def main() -> None:
    """Score all conditions and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="?", default="pretrained/moon", help="folder of weights")
    parser.add_argument("--config", default="moon", help="config/<name>.yaml of the patches and sections")
    parser.add_argument("--every", type=int, default=1, help="take every n-th validation patch")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--apriori", choices=("cells", "altimetry"), help="only rows of this a priori DEM")
    args = parser.parse_args()
    torch.set_num_threads(2)
    plan = Plan(configured(ROOT / "config" / f"{args.config}.yaml"))
    stage = BridgeStage.model_validate_json(plan["bridge_real"].section)
    assert stage.scenes is not None
    system = pipeline.load(args.weights)
    print(
        "| a priori DEM | condition | RMSE without images | RMSE | ratio | SSR |\n|---|---|---|---|---|---|"
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        sites = Sites(plan, Path(scratch), args.every)
        for condition in conditions():
            if args.apriori not in (None, condition.apriori):
                continue
            cameras = changed(stage.imperfections, {"share": 1.0, **condition.cameras})
            found = samples(condition, sites, stage.scenes, stage.masks, system.halo_cells)
            row = scored(condition, system, found, cameras, args.members)
            rows.append({"apriori": condition.apriori, "condition": condition.name, **row})
            ratio = row["rmse_m"] / row["apriori_m"]
            told = f"{row['apriori_m']:.2f} m | {row['rmse_m']:.2f} m | {ratio:.2f} | {row['ssr']:.2f}"
            print(f"| {condition.apriori} | {condition.name} | {told} |", flush=True)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
