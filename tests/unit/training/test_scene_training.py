"""Training on rendered scenes with networks that begin from refined DEMs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shard_files import make_manifest
from training_setups import ALIGNED, OPTIMISER, bridge_task, rival_task

from pipeline.models.estimate import TAIL, Estimate
from pipeline.models.photometric import SetLight
from pipeline.storage.calibration_law import BLIND, HEIGHTS, KINDS
from pipeline.training.loop import Outcome, train

REFINED = {**ALIGNED, "refine": True, "relative_loss": True, "score": "crps", "keep_block_means": True}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_manifest(tmp_path_factory.mktemp("scenes"), tiles=1, scenes=True)


def run(manifest: Path, folder: Path, stop_at: int | None = None) -> Outcome:
    task = bridge_task(manifest, REFINED, "real")
    if stop_at is not None:
        step = task.step

        def crash(prepared, numbers, seen):  # type: ignore[no-untyped-def]
            if seen >= stop_at:
                raise InterruptedError
            return step(prepared, numbers, seen)

        task.step = crash  # type: ignore[method-assign]
    return train(
        task, OPTIMISER, ema=0.9, key="key", folder=folder / "checkpoints", device=torch.device("cpu"),
        checkpoint_minutes=0.0, name="scenes",
    )  # fmt: skip


def test_an_interrupted_training_on_scenes_ends_as_a_straight_one(manifest: Path, tmp_path: Path) -> None:
    straight = run(manifest, tmp_path / "straight")
    with pytest.raises(InterruptedError):
        run(manifest, tmp_path / "again", stop_at=16)
    resumed = run(manifest, tmp_path / "again")
    assert straight.state.keys() == resumed.state.keys()
    for name, value in straight.state.items():
        assert torch.equal(value, resumed.state[name]), name
    assert np.isfinite([line["loss"] for line in straight.history]).all()


def estimate(mean: torch.Tensor, start: torch.Tensor) -> Estimate:
    count = len(mean)
    light = SetLight(torch.zeros(count), torch.zeros_like(mean, dtype=torch.bool))
    return Estimate(mean, light, spread=torch.ones_like(mean), start=start)


def test_relative_losses_are_over_the_expected_error_and_know_no_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, start, step = torch.randn(3, 4, 1, 16, 16, generator=generator)
    right = replace(
        estimate(start, start), spread=(truth - start).square().mean().sqrt() * torch.ones_like(start)
    )
    squared, _, _ = right.relative_losses(truth, 1e-6)
    assert squared.item() == pytest.approx(TAIL * np.log1p(1 / TAIL), rel=0.02)
    scale = torch.tensor([0.01, 1.0, 10.0, 100.0])[:, None, None, None]
    one = estimate(start + 0.3 * step, start)
    other = replace(estimate(scale * one.mean, scale * start), spread=scale.expand_as(start))
    found = one.relative_losses(truth, 1e-6), other.relative_losses(scale * truth, 1e-6)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="expected a network with a spread, found none"):
        replace(one, spread=None).relative_losses(truth, 1e-6)


def test_the_relative_loss_of_the_mean_is_least_near_the_mean() -> None:
    """Of samples of the same inputs, those with small errors count no more than others: losses over the error
    at hand would be least at a third of the mean here."""
    generator = torch.Generator().manual_seed(0)
    pattern, sizes = torch.randn(1, 1, 64, 64, generator=generator), torch.tensor([0.2] * 4 + [1.0] * 4)
    truth = sizes[:, None, None, None] * pattern
    rms = float(truth.var(dim=0, correction=0).mean().sqrt())

    def loss(share: float) -> float:
        around = replace(
            estimate((share * pattern).expand_as(truth), 0 * truth), spread=torch.full_like(truth, rms)
        )
        squared, slopes, _ = around.relative_losses(truth, 1e-3)
        return squared.item() + slopes.item()

    tried = np.linspace(0.1, 1.0, 19)
    assert abs(tried[int(np.argmin([loss(share) for share in tried]))] - float(sizes.mean())) < 0.06


def test_the_relative_loss_of_the_spread_is_least_where_it_is_the_rms_error() -> None:
    """Over samples of the same inputs, of which few go far wrong."""
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([0.1] * 7 + [3.0])[:, None, None, None]
    truth = size * torch.randn(8, 1, 64, 64, generator=generator)
    rms = truth.square().mean().sqrt()

    def loss(spread: torch.Tensor) -> float:
        around = replace(estimate(0 * truth, 0 * truth), spread=spread.expand_as(truth))
        found = around.relative_losses(truth, 1e-3)[2]
        assert found is not None
        return found.item()

    tried = [loss(factor * rms) for factor in (0.5, 0.9, 1.0, 1.1, 2.0)]
    assert int(np.argmin(tried)) == 2


def test_networks_that_refine_tell_what_is_known_of_the_heights(manifest: Path) -> None:
    """Each kind of a priori DEM has its law of calibration, and so has each without images."""
    task = bridge_task(manifest, REFINED, "real")
    batch = task._assemble(task.prepare([0, 0, 0]), [0, 0, 0])
    errors = torch.tensor([0.0, 2.0, torch.inf])
    blind = replace(batch, present=torch.zeros_like(batch.present))
    for given, kinds in ((batch, HEIGHTS), (blind, [name + BLIND for name in HEIGHTS])):
        for off, wanted in ((errors, kinds), (None, [kinds[0]] * 3)):
            with torch.no_grad():
                light = task.system.condition(replace(given, cell_error=off)).estimate.light
            assert [KINDS[k] for k in light.kind] == list(wanted)
            assert given is batch or not light.unlit.any()


def test_altimetry_without_images_keeps_its_kriging(manifest: Path) -> None:
    task = bridge_task(manifest, REFINED, "real")
    for parameter in task.system.network.parameters():  # those that start at zero have influence too
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    batch = task._assemble(task.prepare(range(2)), range(2))
    spots = (torch.rand(batch.prior.shape, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    tracks = replace(batch, spots=spots, cell_error=torch.full((2,), torch.inf))
    nothing = torch.zeros_like(batch.present)
    exact = replace(batch, present=nothing, spots=None, cell_error=None)
    with torch.no_grad():
        blind, seen, cells = (
            task.system.condition(each).estimate for each in (replace(tracks, present=nothing), tracks, exact)
        )
    far = [float((found.mean - found.start).abs().max()) for found in (blind, seen, cells)]
    assert far[0] < 1e-3 and far[1] > 1e-2
    assert far[2] > 1e-2  # block means leave more to learn


@pytest.mark.parametrize("name", ["regression", "siran"])
def test_rivals_train_on_the_same_scenes(name: str, manifest: Path) -> None:
    task = rival_task(name, manifest, scenes=True, keep_block_means=True)
    batch = task.batch(task.prepare(range(4)), range(4))
    assert batch.cell_error is not None and batch.spots is not None
    losses = task.step(task.prepare(range(4)), range(4), 0)
    assert np.isfinite(list(losses.values())).all()
