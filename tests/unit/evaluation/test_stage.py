"""One stage scores every predictor: what each gets, what its rows hold, and where they stand."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from shard_files import FACTOR, HALO, SIZE, make_test_manifest

from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.evaluation import CollectStage, PredictorStage
from pipeline.evaluation import stage
from pipeline.evaluation.collect import collect_metrics
from pipeline.evaluation.conditions import batch_under
from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.stage import evaluate
from pipeline.predictors.registry import PREDICTORS, TRAINED
from pipeline.shards.shard_set import ShardSet
from pipeline.storage.store import open_store
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean
from saved_models import save_system, save_vae

pytestmark = pytest.mark.xdist_group("predictors")
CONDITIONS = {"main": {"missing": True}, "whole": {}, "one": {"nfe": 1}}
SAMPLER = {"nfe": 3, "kind": "dbim", "eta": 1.0, "grid": "quadratic"}
CPU = RuntimeSection(device="cpu")
ENSEMBLE = {"members", "member_rmse_m", "spread_skill_fair", "crps_fair_m", "rank_histogram", "nfe"}


#: Learned rivals have tests of their own, with weights of their own.
UNTRAINED = {name: entry for name, entry in PREDICTORS.items() if not entry.train}


def section(name: str, entry: str, **more: Any) -> PredictorStage:
    """A stage's section as the plan makes it."""
    found = PREDICTORS[entry]
    given: dict[str, Any] = {"batch": 4, "bootstrap": 20, "cpu_threads": 1, "name": name}
    given |= {"module": found.module, "make": found.make, "floor": found.floor}
    if found.images:
        given["conditions"] = CONDITIONS
    return PredictorStage.model_validate(given | more)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_test_manifest(tmp_path_factory.mktemp("test_shards"), count=7)


@pytest.fixture(scope="module")
def parts(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts of every predictor, small models that nobody trained among them."""
    folder = tmp_path_factory.mktemp("parts")
    model = save_system(folder / "w", size_px=SIZE, factor=FACTOR, lr_halo_px=HALO) / "model.safetensors"
    files = {"model": [str(model)], "vae": [str(save_vae(folder / "v"))], "calibration": []}
    for name, entry in UNTRAINED.items():
        if name != TRAINED:
            own = {role: paths if role in entry.files else [] for role, paths in files.items()}
            evaluate(section(name, name), manifest, own, CPU, folder / f"{name}.json")
    trained = section("pretrained", TRAINED, options=SAMPLER, members=3)
    out, examples = folder / "pretrained.json", folder / "examples.zarr.zip"
    evaluate(trained, manifest, files | {"vae": []}, CPU, out, examples)
    return folder


@pytest.fixture(scope="module")
def metrics(parts: Path) -> dict[str, Any]:
    names = [*(name for name in UNTRAINED if name != TRAINED), "pretrained"]
    given = [parts / f"{name}.json" for name in names]
    outs = [parts / name for name in ("metrics.json", "metrics.csv", "patches.csv")]
    collect_metrics(CollectStage(primary="pretrained", systems=[]), given, *outs)
    found: dict[str, Any] = json.loads((parts / "metrics.json").read_text())
    return found


def test_every_predictor_stands_where_its_entry_says(metrics: dict[str, Any]) -> None:
    floors = {name for name, entry in UNTRAINED.items() if entry.floor}
    assert floors and set(metrics["floors"]) == floors
    assert set(metrics["systems"]) == {*UNTRAINED, "pretrained"} - floors - {TRAINED}
    with_images = {name for name, entry in UNTRAINED.items() if entry.images} - {TRAINED}
    assert set(metrics["conditions"]) == set(CONDITIONS)
    for condition in metrics["conditions"].values():
        assert set(condition["systems"]) == {*with_images, "pretrained"}
    assert set(metrics["models"]) == {"vae", "pretrained", "hybrid"}


def test_one_that_needs_no_images_is_scored_once(metrics: dict[str, Any], parts: Path) -> None:
    lines = [line.split(",")[:2] for line in (parts / "metrics.csv").read_text().splitlines()[1:]]
    for name, entry in UNTRAINED.items():
        if name != TRAINED:
            wanted = list(CONDITIONS) if entry.images else ["floor" if entry.floor else "main"]
            assert sorted(label for label, other in lines if other == name) == sorted(wanted)
    rows = [metrics["conditions"][label]["systems"]["photometric"] for label in ("main", "whole")]
    assert rows[0]["rmse_m"] != rows[1]["rmse_m"]  # strips take light from it


def test_a_deterministic_predictor_has_no_ensemble_columns(metrics: dict[str, Any], parts: Path) -> None:
    for name, row in {**metrics["systems"], **metrics["floors"]}.items():
        assert (name == "pretrained") == bool(ENSEMBLE & set(row)), name
    rows = [line.split(",") for line in (parts / "patches.csv").read_text().splitlines()]
    for row in rows[1:]:
        assert (row[1] == "pretrained") == bool(dict(zip(rows[0], row))["ranks"])
    drawn = metrics["conditions"]["one"]["systems"]["pretrained"]
    assert (metrics["systems"]["pretrained"]["nfe"], drawn["nfe"], drawn["members"]) == (3, 1, 3)


def test_examples_are_kept_of_the_main_condition(parts: Path) -> None:
    store = open_store(parts / "examples.zarr.zip", schema="examples")
    assert store.attrs["system"] == "pretrained" and len(store["id"]) == 7


def test_examples_do_not_keep_their_batches(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def noted(*given: Any) -> Any:
        batch = batch_under(*given)
        batches.append(weakref.ref(batch))
        return batch

    def counted(path: Path, shown: list[Any], *_: Any) -> None:
        alive.append(sum(ref() is not None for ref in batches))
        assert len(shown) == 7
        assert all(values.base is None for example in shown for values in example.fields.values())

    monkeypatch.setattr(stage, "batch_under", noted)
    monkeypatch.setattr(stage, "_write_examples", counted)
    model = save_system(tmp_path / "w", size_px=SIZE, factor=FACTOR, lr_halo_px=HALO) / "model.safetensors"
    files = {"model": [str(model)], "vae": [], "calibration": []}
    more = {"options": SAMPLER, "members": 2, "batch": 2, "conditions": {"main": {}}}
    evaluate(
        section("pretrained", TRAINED, **more), manifest, files, CPU, tmp_path / "p.json", tmp_path / "e"
    )
    # The last prediction is still at hand.
    assert len(batches) == 4 and alive[0] <= 1


def test_bicubics_are_scored_in_double_precision(metrics: dict[str, Any], manifest: Path) -> None:
    """To the last digit, patch by patch, from the heights themselves."""
    shards = ShardSet(manifest, "test")
    for name, cells in (("bicubic", 0), ("bicubic_window", 2)):
        scores = PatchScores(float(shards.manifest["grid"]["pixel_m"]))
        for shard, patch in map(shards.at, range(len(shards))):
            dem = torch.from_numpy(shard.dem(patch).astype("f8"))
            a, b = HALO - cells * FACTOR, HALO + SIZE + cells * FACTOR
            up = prior_from_lr(block_mean(dem[a:b, a:b], FACTOR), cells, FACTOR)
            scores.add(up.numpy(), dem[HALO : HALO + SIZE, HALO : HALO + SIZE].numpy())
        wanted = scores.summary(20, 0)
        assert {key: metrics["systems"][name][key] for key in wanted} == wanted


def test_a_patch_is_scored_alike_in_any_batch(manifest: Path, parts: Path, tmp_path: Path) -> None:
    for name in ("bicubic_window", "photometric"):
        evaluate(section(name, name, batch=3), manifest, {}, CPU, tmp_path / "part.json")
        one, two = (json.loads(p.read_text()) for p in (tmp_path / "part.json", parts / f"{name}.json"))
        for label, row in one["rows"].items():
            assert_allclose(row["rmse_m"], two["rows"][label]["rmse_m"], rtol=1e-6)


def test_only_a_floor_is_given_the_truth(manifest: Path, tmp_path: Path) -> None:
    """A predictor that asks for it fails unless it is declared."""
    asks = section("bicubic", "bicubic", module=__name__, make="Cheat")
    with pytest.raises(TypeError, match="NoneType"):
        evaluate(asks, manifest, {}, CPU, tmp_path / "part.json")
    declared = asks.model_copy(update={"floor": True})
    evaluate(declared, manifest, {}, CPU, tmp_path / "part.json")
    assert json.loads((tmp_path / "part.json").read_text())["rows"]["floor"]["rmse_m"] == 0


class Cheat:
    """Returns the truth."""

    halo_cells, exact = 0, True

    def __init__(self, setup: Any) -> None: ...

    def sample(self, batch: Any, members: int, generators: Any) -> torch.Tensor:
        return batch.dem[:, None]


def test_a_primary_without_a_part_is_named(parts: Path, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("a", "b", "c")]
    with pytest.raises(ValueError, match=r"primary: expected one of \['bicubic'\], found 'other_missing'"):
        collect_metrics(CollectStage(primary="other_missing", systems=[]), [parts / "bicubic.json"], *outs)
    assert not list(tmp_path.iterdir())
    assert np.isfinite(json.loads((parts / "bicubic.json").read_text())["rows"]["main"]["rmse_m"])
