"""Stages ``evaluation_<name>``: one predictor on every test patch under its conditions, scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.config.evaluation import Condition
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation.collect import make_part, models_of
from pipeline.evaluation.conditions import batch_under, exact_batch
from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.per_patch import Columns, columns
from pipeline.evaluation.resampling import block_of
from pipeline.evaluation.withheld import withheld
from pipeline.jobs.device import pick_device
from pipeline.jobs.machine import arithmetic
from pipeline.jobs.progress import progress
from pipeline.jobs.seeds import seeded
from pipeline.predictors.interface import Predictor, Setup
from pipeline.shards.batches import Batch
from pipeline.shards.shard_set import ShardSet, chosen
from pipeline.storage.atomic import write_json
from pipeline.storage.store import StoreWriter

_CLONES, _RANKS = 0xC10E5, 0x4A9C
EXAMPLES = 24


@dataclass(frozen=True)
class Prediction:
    """Members of one patch.

    Attributes
    ----------
    index : of the patch in its `ShardSet`. patch_id : its id.
    members : (M, P, P) float64, metres above the batch's reference.
    batch : with the truth. row : of the patch in the batch.
    """

    index: int
    patch_id: int
    members: np.ndarray
    batch: Batch
    row: int

    @property
    def truth(self) -> np.ndarray:
        """(P, P) metres above the reference."""
        assert self.batch.dem is not None
        return self.batch.dem[self.row].double().cpu().numpy()

    def field(self, values: Tensor) -> np.ndarray:
        """This patch's row (...) of a tensor (B, ...) of the batch, on the host."""
        return values[self.row].cpu().numpy()

    def cells(self, halo_cells: int) -> np.ndarray:
        """(n, n) block means of the a priori DEM inside the patch, metres above the reference."""
        lr = self.field(self.batch.lr)
        return lr[halo_cells : len(lr) - halo_cells, halo_cells : len(lr) - halo_cells]


@dataclass(frozen=True)
class Example:
    """What the report shows of one patch, without the rest of its batch.

    Attributes
    ----------
    patch_id : of the patch. fields : (P, P) float32 by name; heights in metres above the batch's reference.
    """

    patch_id: int
    fields: dict[str, np.ndarray]

    @classmethod
    def of(cls, found: Prediction) -> Example:
        """Copies from a prediction, which holds its whole batch."""
        fields = {
            "truth": found.truth,
            "prior": found.field(found.batch.prior),
            "mean": found.members.mean(axis=0),
            "clone": found.members[0],
            "std": found.members.std(axis=0, ddof=1),
            "image": found.field(found.batch.images)[0],
        }
        return cls(found.patch_id, {name: np.array(values, np.float32) for name, values in fields.items()})


def _sites_and_blocks(shards: ShardSet) -> list[tuple[int, str]]:
    """Site and block of every patch, in the order of the set."""
    out = []
    for shard in shards.shards:
        table = zip(*(shard.root[name].values.tolist() for name in ("site", "row", "col")))
        size = int(shard.attrs["size_px"])
        out += [(site, block_of(row, col, size)) for site, row, col in table]
    return out


def predict(
    predictor: Predictor,
    section: PredictorStage,
    label: str,
    condition: Condition | None,
    shards: ShardSet,
    device: torch.device,
) -> Iterator[Prediction]:
    """Members of the chosen patches, one patch at a time.

    A patch's members depend on the seed and its id, not on the other patches of the batch. Only a floor is
    given the truth.

    Parameters
    ----------
    predictor : to be scored. section : of its stage. shards : the test split. device : of the batches.
    label, condition : name of the condition, and the condition; None for a predictor without images.

    Yields
    ------
    One prediction per patch, in the order of the set.
    """
    picked = chosen(len(shards), section.max_patches)
    groups = [picked[i : i + section.batch] for i in range(0, len(picked), section.batch)]
    for group in progress(groups, len(groups), f"{section.name} {label}: batches of patches"):
        places = [shards.at(index) for index in group]
        ids = [int(shard.ids[patch]) for shard, patch in places]
        if predictor.exact:
            batch = exact_batch(places, predictor.halo_cells)
        else:
            batch = batch_under(condition, label, places, section, predictor.halo_cells, device)
        generators = [seeded(section.seed, _CLONES, i) for i in ids]
        given = batch if section.floor else replace(batch, dem=None)
        members = predictor.sample(given, section.members_under(condition), generators).double().cpu().numpy()
        for row, index in enumerate(group):
            yield Prediction(index, ids[row], members[row], batch, row)


@torch.no_grad()
def evaluate(
    section: PredictorStage,
    manifest: Path | str,
    files: Mapping[str, Sequence[str]],
    runtime: RuntimeSection,
    out: Path | str,
    examples: Path | str | None = None,
) -> None:
    """Score a predictor under every condition of its section.

    Parameters
    ----------
    section : of the stage.
    manifest : of the test shards.
    files : paths of the predictor's weights by role; without any, the CPU computes.
    runtime : device.
    out : JSON part to write, see `pipeline.evaluation.collect.make_part`.
    examples : store to write of a few patches of the main condition, for the report; predictors of ensembles
        only.

    Raises
    ------
    ValueError
        If there is no such device, or a condition asks for images that the shards do not hold.
    StoreError
        If a shard is absent or differs from its digest.
    """
    device = pick_device(runtime.device if any(files.values()) else "cpu")
    shards = ShardSet(manifest, "test")
    grid = shards.manifest["grid"]
    picked = chosen(len(shards), section.max_patches)
    keep = {picked[k] for k in chosen(len(picked), EXAMPLES)}
    make = getattr(import_module(section.module), section.make)
    rows, tables, locations = {}, dict[str, Columns](), _sites_and_blocks(shards)
    for label, condition in section.headings.items():
        predictor = make(Setup(grid, section.options_under(condition), files, device))
        scores, ids, shown = PatchScores(float(grid["pixel_m"])), list[int](), list[Example]()
        for found in predict(predictor, section, label, condition, shards, device):
            ids.append(found.patch_id)
            scores.place(*locations[found.index])
            known = found.field(found.batch.prior), found.cells(predictor.halo_cells)
            if len(found.members) == 1:
                scores.add(found.members[0], found.truth, *known)
            else:
                rng = np.random.default_rng([section.seed, _RANKS, found.patch_id])
                scores.add_ensemble(found.members, found.truth, rng, *known)
            hidden = withheld(condition, shards.at(found.index), section, found.truth)
            if hidden is not None:
                mean = found.members.mean(axis=0)
                scores.add_withheld(**hidden.columns(mean, found.field(found.batch.prior)))
            if label == "main" and found.index in keep and examples is not None:
                shown.append(Example.of(found))
        tables[label] = columns(scores, ids, arithmetic(device))
        rows[label] = scores.summary(section.bootstrap, section.seed)
        if shown and examples is not None:
            _write_examples(examples, shown, section.name, float(grid["pixel_m"]))
    write_json(out, make_part(section, rows, models_of(section, files)) | {"patches": tables})


def _write_examples(path: Path | str, shown: list[Example], system: str, pixel_m: float) -> None:
    """Store the report's examples: heights in metres above the batch's reference, and one image per patch."""
    with StoreWriter(path, "examples", {"pixel_m": pixel_m, "system": system}) as writer:
        writer.write("id", np.array([example.patch_id for example in shown], np.int64), ("patch",))
        for name in shown[0].fields:
            writer.write(name, np.stack([example.fields[name] for example in shown]), ("patch", "y", "x"))
