"""Imperfections where they are used: batches, training, evaluation, configuration."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from shard_files import FACTOR, SIZE
from training_setups import ALIGNED, bridge_stage

from pipeline.config.bridge import BridgeSection
from pipeline.config.evaluation import Condition
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.root import ConfigError, load_config
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation import conditions
from pipeline.evaluation.stage import predict
from pipeline.illumination.imperfections import apply_imperfections
from pipeline.models.batch import Batch, flip
from pipeline.models.system import System
from pipeline.predictors.interface import Predictor
from pipeline.shards.batches import Sample, assemble, read_sample
from pipeline.shards.scene import ImageSet
from pipeline.shards.shard_set import ShardSet
from pipeline.training.bridge import BridgeTask

LAW = PhotometrySection()
CPU = torch.device("cpu")
REAL: dict[str, Any] = {
    "albedo": {"rms": 0.1},
    "albedo_blocks": {"rms": 0.1, "cell_px": 5},
    "exposure": 0.05,
    "shift_px": 0.3,
    "noise": {"snr": 50, "photons": 10000},
    "sun_deg": 0.1,
    "quantise_bits": 12,
}
FLAWED = ImperfectionsSection.model_validate(REAL)


def samples(manifest: Path, counts: Sequence[int], strips: bool = False) -> list[Sample]:
    """Patches of training shards under Suns of all heights."""
    shards, out = ShardSet(manifest, "train"), []
    for k, n in enumerate(counts):
        rng = np.random.default_rng(k)
        suns = abs(rng.normal(size=(n, 3))) + 0.2
        suns /= np.linalg.norm(suns, axis=1, keepdims=True)
        cut = np.column_stack([np.full((n, 2), SIZE / 2), rng.uniform(0, 180, n), rng.uniform(3, 6, n)])
        shard, patch = shards.at(k)
        images = ImageSet("fixed", rng.integers(0, 360, n), suns, cut if strips else None)
        out.append(read_sample(shard, patch, images, 1))
    return out


def batch_of(given: list[Sample], how: ImperfectionsSection | None, seed: int = 0) -> Batch:
    rngs = None if how is None else [np.random.default_rng([seed, k]) for k in range(len(given))]
    return assemble(given, 1, FACTOR, LAW, "cpu", how, rngs)


def fields(batch: Batch) -> dict[str, torch.Tensor]:
    return {k: v for k, v in vars(batch).items() if isinstance(v, torch.Tensor)}


# --- batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strips", [False, True])
def test_off_is_bit_for_bit_a_batch_without(small_manifest: Path, strips: bool) -> None:
    given = samples(small_manifest, (4, 2, 3), strips)
    plain = fields(batch_of(given, None))
    for found in (
        batch_of(given, ImperfectionsSection()),
        assemble(given, 1, FACTOR, LAW, "cpu", ImperfectionsSection(), None),
    ):
        for name, value in fields(found).items():
            assert_array_equal(value, plain[name], err_msg=name)


def test_only_images_and_suns_change_and_no_data_stay_no_data(small_manifest: Path) -> None:
    given = samples(small_manifest, (4, 2, 3), strips=True)
    plain, found = batch_of(given, None), batch_of(given, FLAWED)
    for name in ("dem", "lr", "prior", "valid", "present", "pixel_m", "reference"):
        assert_array_equal(getattr(found, name), getattr(plain, name), err_msg=name)
    assert not found.images[~found.valid].any()
    assert 0 < found.valid.float().mean() < 0.9
    error = (found.images - plain.images)[plain.valid]
    assert 0.02 < error.std() / plain.images[plain.valid].std() < 0.8
    apart = torch.rad2deg((found.sun - plain.sun).norm(dim=-1))
    assert (apart[plain.present] > 0).all() and apart.max() < 1
    assert not apart[~plain.present].any()


def test_images_are_of_the_true_sun(small_manifest: Path) -> None:
    given = samples(small_manifest, (4,))
    how = ImperfectionsSection(sun_deg=20.0)
    plain, found = batch_of(given, None), batch_of(given, how)
    assert_array_equal(found.images, plain.images)
    assert (found.sun - plain.sun).norm(dim=-1).max() > 0.1


def test_the_bridge_stage_moves_under_its_strip(small_manifest: Path) -> None:
    """What a strip keeps is cut from the moved image."""
    whole = samples(small_manifest, (4,))
    cut = samples(small_manifest, (4,), strips=True)
    how = ImperfectionsSection(shift_px=3.0)
    moved, kept = batch_of(whole, how), batch_of(cut, how)
    assert_array_equal(kept.images, moved.images * kept.valid)
    assert (moved.images - batch_of(whole, None).images).abs().max() > 0.01


def test_a_row_is_the_same_in_any_batch(small_manifest: Path) -> None:
    given = samples(small_manifest, (4, 2, 3), strips=True)
    together = batch_of(given, FLAWED)
    alone = assemble(given[1:2], 1, FACTOR, LAW, "cpu", FLAWED, [np.random.default_rng([0, 1])])
    assert_array_equal(together.images[1, :2], alone.images[0])
    assert_array_equal(together.sun[1, :2], alone.sun[0])


# --- training -------------------------------------------------------------------------------------------


def task(manifest: Path, **imperfections: Any) -> BridgeTask:
    section, shards = BridgeSection(**ALIGNED), ShardSet(manifest, "train")
    system = System(section, SIZE, FACTOR, 1.0)
    plain = bridge_stage(ALIGNED, "missing")
    given = plain.model_copy(update={"imperfections": ImperfectionsSection.model_validate(imperfections)})
    return BridgeTask(given, system, shards, CPU)


def seen_by(task: BridgeTask, numbers: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> Batch:
    """The batch that a training step gives the system."""
    caught: list[Batch] = []

    def losses(batch: Batch, _: Any) -> dict[str, torch.Tensor]:
        caught.append(batch)
        return {"loss": next(task.system.network.parameters()).sum()}

    monkeypatch.setattr(task.system, "losses", losses)
    task.step(task.prepare(numbers), numbers, 0)
    return caught[0]


def test_training_samples_have_imperfections_of_their_number(
    small_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(batch: Batch, k: int) -> list[torch.Tensor]:
        here = batch.present[k]
        return [batch.images[k, here], batch.sun[k, here], batch.valid[k, here]]

    flawed = seen_by(task(small_manifest, **REAL), [7, 8, 9], monkeypatch)
    perfect = seen_by(task(small_manifest), [7, 8, 9], monkeypatch)
    alone = seen_by(task(small_manifest, **REAL), [8], monkeypatch)
    for a, b in zip(row(flawed, 1), row(alone, 0)):
        assert_array_equal(a, b)
    # The same images, strips, flips: only the imperfections are new.
    assert_array_equal(flawed.valid, perfect.valid)
    assert_array_equal(flawed.lr, perfect.lr)
    assert 0 < (flawed.sun - perfect.sun).norm(dim=-1).max() < 0.02
    assert not torch.equal(flawed.images, perfect.images)


def test_imperfections_come_before_flips(small_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = range(8)
    trained = task(small_manifest, **REAL)
    found = seen_by(trained, numbers, monkeypatch)
    rngs = [trained.order.imperfections_rng(n) for n in numbers]
    made = assemble(trained.prepare(numbers), trained.system.halo_cells, FACTOR, LAW, CPU, FLAWED, rngs)
    mirrored = trained.order.flips(numbers)
    assert mirrored.any() and not mirrored.all()
    for name, value in fields(flip(made, mirrored)).items():
        assert_array_equal(getattr(found, name), value, err_msg=name)


def test_perfect_training_makes_no_generator(small_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perfect = task(small_manifest)
    monkeypatch.setattr(perfect.order, "imperfections_rng", lambda n: pytest.fail("asked for a generator"))
    seen_by(perfect, [0, 1], monkeypatch)


# --- evaluation -----------------------------------------------------------------------------------------


class Looker(Predictor):
    """A predictor that shows what it was given."""

    halo_cells = 1

    def __init__(self) -> None:
        self.seen: list[Batch] = []

    def sample(self, batch: Batch, members: int, generators: Any) -> torch.Tensor:
        self.seen.append(batch)
        return torch.zeros(len(batch), members, SIZE, SIZE)


def evaluated(
    manifest: Path, label: str = "real", batch: int = 4, seed: int = 0, name: str = "a", flawed: bool = True
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and Suns of every patch, as the predictor gets them."""
    condition = Condition(light="fibonacci", imperfections=flawed)
    section = PredictorStage(
        name=name, module="", make="", batch=batch, seed=seed, members=2, photometry=LAW,
        imperfections=FLAWED, cpu_threads=1,
    )  # fmt: skip
    looker = Looker()
    drawn = list(predict(looker, section, label, condition, ShardSet(manifest, "train"), CPU))
    assert all(seen.dem is None for seen in looker.seen)
    assert all(any(d.batch.images is seen.images for seen in looker.seen) for d in drawn)
    return [(d.batch.images[d.row][d.batch.present[d.row]], d.batch.sun[d.row]) for d in drawn]


def test_a_condition_is_flawed_by_its_seed_and_name_and_the_patch(small_manifest: Path) -> None:
    first = evaluated(small_manifest)
    assert len(first) > 4
    for same in (evaluated(small_manifest, batch=3), evaluated(small_manifest, name="b")):
        for (a, _), (b, _) in zip(first, same):
            assert_array_equal(a, b)
    perfect = evaluated(small_manifest, flawed=False)
    for other in (evaluated(small_manifest, "other"), evaluated(small_manifest, seed=1), perfect):
        for (a, _), (b, _) in zip(first, other):
            assert a.shape == b.shape and not torch.equal(a, b)
    for (images, suns), (true_images, true_suns) in zip(first, perfect):
        assert 0 < (images - true_images).std() < true_images.std()
        assert 0 < (suns - true_suns).norm(dim=-1).max() < 0.02


def test_no_two_patches_share_random_numbers(small_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[float] = []

    def watched(*given: Any) -> Batch:
        first.extend(copy.deepcopy(rng).random() for rng in given[-1])
        return assemble(*given)

    monkeypatch.setattr(conditions, "assemble", watched)
    count = len(evaluated(small_manifest))
    assert len(set(first)) == count


# --- configuration --------------------------------------------------------------------------------------


def test_a_condition_with_imperfections_needs_some() -> None:
    conditions = {"main": {}, "real": {"imperfections": True}}
    with pytest.raises(
        ConfigError,
        match=r"evaluation\.conditions\.real\.imperfections: expected false, since everything in "
        r"imperfections\.test is off, found true",
    ):
        load_config({"evaluation": {"conditions": conditions}, "imperfections": {"train": REAL}})
    for key, value in REAL.items():
        load_config({"evaluation": {"conditions": conditions}, "imperfections": {"test": {key: value}}})


def test_the_default_is_perfect() -> None:
    config = load_config({"imperfections": {}})
    assert config.imperfections.train.off and config.imperfections.test.off
    assert config == load_config({})


def test_a_share_of_the_sets_has_imperfections(small_manifest: Path) -> None:
    section = ImperfectionsSection(exposure=0.3, sun_deg=1.0)
    part = section.model_copy(update={"share": 0.5})
    images = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    valid, present = torch.ones(64, 3, 8, 8, dtype=torch.bool), torch.ones(64, 3, dtype=torch.bool)
    suns = torch.tensor([0.6, 0.0, 0.8]).expand(64, 3, 3).contiguous()

    def made(how: ImperfectionsSection) -> tuple[torch.Tensor, torch.Tensor]:
        return apply_imperfections(
            images, valid, suns, present, how, [np.random.default_rng(k) for k in range(64)]
        )

    (some, some_suns), (all_, all_suns) = made(part), made(section)
    perfect = (some == images).flatten(1).all(dim=1)
    assert 16 < perfect.sum() < 48
    assert torch.equal((some_suns == suns).flatten(1).all(dim=1), perfect)
    # Those that have them have the very same ones.
    assert torch.equal(some[~perfect], all_[~perfect]) and torch.equal(
        some_suns[~perfect], all_suns[~perfect]
    )
    assert section.model_copy(update={"share": 0.0}).off
