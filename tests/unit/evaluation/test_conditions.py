"""What an evaluation's conditions give to predictors: the same draws for all, fewer of the same images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shard_files import FACTOR, HALO, SIZE, make_test_manifest

from pipeline.bundle.reevaluation import check_store
from pipeline.config.evaluation import Condition
from pipeline.config.runtime import RuntimeSection
from pipeline.config.scene_draw import SceneDraw
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation.conditions import batch_under
from pipeline.evaluation.stage import evaluate
from pipeline.predictors.registry import PREDICTORS, TRAINED
from pipeline.shards.batches import Batch
from pipeline.shards.shard_set import ShardSet
from pipeline.shards.subset import write_subset
from saved_models import save_system

CPU = torch.device("cpu")
DRAW = {"cell_error_share": 0.0, "unexpected_share": 0.0, "images_power": 0.0}
IMPERFECT = {"exposure": 0.05, "noise": {"snr": 50}}
SCENES = {"light": "scenes"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return ShardSet(make_test_manifest(tmp_path_factory.mktemp("test"), count=5, scenes=True), "test")


def section(**more: Any) -> PredictorStage:
    given = {"name": "p", "module": __name__, "make": "Seen", "cpu_threads": 1, "seed": 3, "bootstrap": 10}
    drawn = {"scenes": SceneDraw.model_validate(DRAW), "masks": {"half_width_px": [3, 5]}}
    return PredictorStage.model_validate(given | drawn | {"imperfections": IMPERFECT} | more)


def batch(
    shards: ShardSet, condition: dict[str, Any], halo: int = 0, rows: Any = range(5), **more: Any
) -> Batch:
    places = [shards.at(i) for i in rows]
    return batch_under(Condition.model_validate(condition), "label", places, section(**more), halo, CPU)


class Seen:
    """Keeps what it is given in the file that its options name, and returns the a priori DEM."""

    exact = False

    def __init__(self, setup: Any) -> None:
        self.options = setup.options
        self.halo_cells = int(setup.options["halo"])

    def sample(self, batch: Batch, members: int, generators: Any) -> torch.Tensor:
        with Path(self.options["file"]).open("a") as out:
            for row in range(len(batch)):
                known = batch.present[row]
                given = [batch.images[row][known], batch.sun[row][known], batch.valid[row][known]]
                if batch.spots is not None:
                    given.append(batch.spots[row])
                out.write(" ".join(str(float(g.double().sum())) for g in given) + "\n")
        return batch.prior[:, None].expand(-1, members, -1, -1)


@pytest.mark.parametrize(
    "condition",
    [
        {"missing": True},
        {"images": 2},
        {"imperfections": True},
        {**SCENES, "missing": True, "imperfections": True, "images": 3},
        {**SCENES, "apriori": "altimetry"},
    ],
    ids=str,
)
def test_all_systems_are_given_the_same_draws(
    shards: ShardSet, tmp_path: Path, condition: dict[str, Any]
) -> None:
    """Whatever their names, weights, halo, members and batches."""
    manifest = shards.shards[0].path.parents[1] / "manifest.json"
    seen = []
    for name, halo, members, size in (("one", 0, 1, 5), ("two", 2, 3, 2)):
        file = tmp_path / name
        options = {"file": str(file), "halo": halo}
        conditions = {"main": condition, "same": condition}
        stage = section(name=name, options=options, members=members, batch=size, conditions=conditions)
        evaluate(stage, manifest, {}, RuntimeSection(device="cpu"), tmp_path / "part.json")
        seen.append(file.read_text().splitlines())
    assert len(seen[0]) == 10 and len(set(seen[0][:5])) == 5
    for one, two in zip(*seen):
        wanted = np.array([float(v) for v in one.split()])
        np.testing.assert_allclose([float(v) for v in two.split()], wanted, rtol=1e-6)
    # Imperfections are drawn for each condition, all else for the patch only.
    assert (seen[0][:5] == seen[0][5:]) == ("imperfections" not in condition)


@pytest.mark.parametrize("light", [{}, {"light": "fibonacci"}, SCENES])
def test_of_more_images_those_of_fewer_are_part(shards: ShardSet, light: dict[str, Any]) -> None:
    whole = batch(shards, light)
    before: list[set[float]] = [set() for _ in range(5)]
    for count in (0, 1, 3, 1000):
        found = batch(shards, {**light, "images": count})
        most = whole.present.sum(dim=1)
        assert (found.present.sum(dim=1) == most.clamp(max=count)).all()
        for row in range(5):
            now = set(found.images[row][found.present[row]].sum(dim=(1, 2)).tolist())
            assert before[row] <= now
            before[row] = now
    assert torch.equal(found.images, whole.images)


def test_scenes_are_one_set_of_the_patch_with_what_is_known_of_its_heights(shards: ShardSet) -> None:
    cells = batch(shards, SCENES, halo=2)
    for row in range(5):
        shard, patch = shards.at(row)
        sets = [shard.scene_images(patch, shard.scene_sets[patch] == k) for k in (0, 1)]
        assert any(np.array_equal(cells.images[row].numpy(), s.astype("f4")) for s in sets)
    assert cells.spots is not None and not cells.spots.any()
    assert cells.cell_error is not None and not cells.cell_error.any()
    errors = batch(shards, {**SCENES, "apriori": "errors"}, halo=2)
    assert errors.cell_error is not None and (errors.cell_error > 0).all()
    off = (errors.lr + errors.reference[:, None, None] - cells.lr - cells.reference[:, None, None]).std()
    assert off == pytest.approx(float(errors.cell_error.square().mean().sqrt()), rel=0.5)
    # Patches of 16 pixels are narrow: here nearly all of the ground is hit.
    dense = SceneDraw.model_validate(DRAW | {"altimetry": {"coverage": [0.9, 0.95]}})
    tracks = batch(shards, {**SCENES, "apriori": "altimetry"}, scenes=dense)
    assert tracks.spots is not None and (tracks.spots > 0).flatten(1).any(dim=1).any()
    assert tracks.cell_error is not None and torch.isinf(tracks.cell_error).any()
    assert torch.equal(tracks.images, cells.images)


def test_missing_data_of_scenes_are_drawn_once(shards: ShardSet) -> None:
    whole, strips = batch(shards, SCENES), batch(shards, {**SCENES, "missing": True})
    assert whole.valid.all() and 0.2 < strips.valid.float().mean() < 0.9
    few = batch(shards, {**SCENES, "missing": True, "images": 2})
    assert few.valid.float().mean() < 0.9
    alone = batch(shards, {**SCENES, "missing": True}, rows=[3])
    assert torch.equal(alone.valid[0], strips.valid[3])


def test_a_system_without_images_or_on_scenes_is_scored(shards: ShardSet, tmp_path: Path) -> None:
    manifest = shards.shards[0].path.parents[1] / "manifest.json"
    conditions = {
        "main": {"images": 0},
        "scenes": SCENES,
        "tracks": {**SCENES, "apriori": "altimetry", "missing": True},
    }
    model = save_system(tmp_path / "w", size_px=SIZE, factor=FACTOR, lr_halo_px=HALO) / "model.safetensors"
    entry = PREDICTORS[TRAINED]
    sampler = {"nfe": 2, "kind": "dbim", "eta": 1.0, "grid": "quadratic"}
    stage = section(module=entry.module, make=entry.make, options=sampler, members=3, conditions=conditions)
    files = {"model": [str(model)], "vae": [], "calibration": []}
    evaluate(stage, manifest, files, RuntimeSection(device="cpu"), tmp_path / "part.json")
    rival = PREDICTORS["photometric"]
    other = section(module=rival.module, make=rival.make, conditions=conditions, name="photometric")
    evaluate(other, manifest, {}, RuntimeSection(device="cpu"), tmp_path / "other.json")
    for name in ("part", "other"):
        rows = json.loads((tmp_path / f"{name}.json").read_text())["rows"]
        assert set(rows) == set(conditions)
        for row in rows.values():
            assert np.isfinite([row["rmse_m"], row["prior_rmse_m"], row["cells_rms_m"]]).all()
            assert row["n_sites"] == 1 and row["rmse_m_ci95_sites"][0] <= row["rmse_m_ci95_sites"][1]
        assert rows["scenes"]["prior_rmse_m"] != rows["tracks"]["prior_rmse_m"]


def test_shipped_patches_have_their_scenes(shards: ShardSet, tmp_path: Path) -> None:
    write_subset(shards, [4, 1], tmp_path)
    few = ShardSet(tmp_path / "manifest.json", "test")
    check_store(tmp_path / "test.zarr.zip")
    found = batch(few, {**SCENES, "missing": True}, rows=range(2))
    wanted = batch(shards, {**SCENES, "missing": True}, rows=[4, 1])
    assert torch.equal(found.images, wanted.images) and torch.equal(found.valid, wanted.valid)


def test_another_seed_draws_others(shards: ShardSet) -> None:
    one, two = (batch(shards, {**SCENES, "images": 2}, seed=seed) for seed in (3, 4))
    assert not torch.equal(one.images, two.images)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"apriori": "altimetry"}, "apriori: expected 'cells' with light 'arcs'"),
        ({"light": "fibonacci", "apriori": "errors"}, "apriori: expected 'cells' with light 'fibonacci'"),
        ({"images": -1}, "greater than or equal to 0"),
    ],
)
def test_a_condition_that_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Condition.model_validate(given)
