"""The CPU's answers on a GPU: clones, losses, scores; trainings that end in equal bits; memory given back.

Every random number is drawn on the CPU, so that a GPU gets the same ones. What differs is rounding: networks
convolve in TF32 there unless told otherwise (10 bits), in bfloat16 with 8 bits.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from model_sets import lambert_set
from shard_files import FACTOR, SIZE, make_manifest, make_test_manifest
from torch import nn
from training_setups import FREE, PUBLISHED, bridge_stage, bridge_task, vae_stage, vae_task

import pipeline
from pipeline.config.bridge import BridgeSection
from pipeline.config.pretrained import PretrainedSampler
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.config.vae import VaeSection
from pipeline.evaluation.stage import evaluate
from pipeline.jobs.job import set_threads
from pipeline.jobs.seeds import seeded
from pipeline.models.batch import Batch
from pipeline.models.factory import build_network, build_vae
from pipeline.models.losses import absolute_sum
from pipeline.models.refinement import refined
from pipeline.models.spaces import Codec
from pipeline.models.system import System
from pipeline.predict import super_resolve
from pipeline.predictors.registry import PREDICTORS
from pipeline.storage.atomic import read_json
from pipeline.training.bridge import BridgeTask, train_bridge
from pipeline.training.loop import TrainingStopped, averaged
from pipeline.training.vae import VaeTask, train_vae
from saved_models import save_system

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "pretrained" / "lola40"
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
RUNTIME = RuntimeSection(device="cuda", checkpoint_minutes=1000)
# Largest differences, relative: of single precision, of TF32's convolutions, of bfloat16's steps.
EXACT, TF32, BF16 = 1e-3, 3e-2, 0.1
# The same of a refinement: robust weights and a fixed number of solver steps make more of rounding.
REFINED = 3e-2


@pytest.fixture(scope="module", autouse=True)
def _as_a_job() -> None:
    set_threads(4)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_manifest(tmp_path_factory.mktemp("shards"))


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Convolutions in TF32, which is torch's default, or in single precision."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def moved(batch: Batch, device: torch.device) -> Batch:
    return Batch(**{k: None if v is None else v.to(device) for k, v in vars(batch).items()})


def relative(found: Any, expected: Any) -> float:
    """RMS of the difference over the RMS of what is expected."""
    found, expected = (np.asarray(x, float) for x in (found, expected))
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


def weights(path: Path) -> bytes:
    return path.read_bytes()


# --- clones ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("allowed", "tolerance"), [(False, EXACT), (True, TF32)])
def test_shipped_weights_draw_the_clones_of_the_cpu(allowed: bool, tolerance: float) -> None:
    clones = {}
    for device in (CPU, GPU):
        system = pipeline.load(SHIPPED, device)
        batch = lambert_set(2, 6, system.size_px, system.factor, 40.0, system.halo_cells)
        with tf32(allowed):
            drawn = system.sample(moved(batch, device), 4, [seeded(1), seeded(2)], PretrainedSampler())
        # What the network adds to the a priori DEM, metres.
        clones[device] = (drawn.cpu() - batch.prior[:, None]).numpy()
    difference = relative(clones[GPU], clones[CPU])
    print(f"clones differ by {difference:.2e} (TF32 {allowed})")
    assert difference < tolerance


def test_a_refining_network_draws_the_clones_of_the_cpu(tmp_path: Path) -> None:
    # The compiled loops run on the host, the solver on the device.
    folder = save_system(tmp_path, 5, 96, 16, 32, refine=True)
    batch = lambert_set(4, 8, 96, 16, 40.0, halo_cells=2, seed=2)
    batch = measured(hazy(batch))
    clones = {}
    for device in (CPU, GPU):
        system = pipeline.load(folder, device)
        with tf32(False):
            refinement = refined(moved(batch, device), system.factor)
            drawn = system.sample(moved(batch, device), 4, [seeded(k) for k in range(4)])
        assert refinement.about.device.type == drawn.device.type == device.type
        clones[device] = {
            # What images and altimetry change, metres; what they tell of each pixel; what is added in all.
            "heights": (refinement.batch.prior.cpu() - batch.prior).numpy(),
            "about": refinement.about.cpu().numpy(),
            "images": refinement.batch.images.cpu().numpy(),
            "clones": (drawn.cpu() - batch.prior[:, None]).numpy(),
        }
    for name, expected in clones[CPU].items():
        difference = relative(clones[GPU][name], expected)
        print(f"{name} of a refining network differ by {difference:.2e}")
        assert np.isfinite(expected).all() and np.std(expected) > 0
        assert difference < REFINED, name


def hazy(batch: Batch) -> Batch:
    """Images of unlike exposures, each with haze of its own."""
    rng = np.random.default_rng(6)
    gain, haze = (
        torch.from_numpy(rng.uniform(low, high, (*batch.present.shape, 1, 1)).astype(np.float32))
        for low, high in ((0.8, 1.2), (0.0, 0.01))
    )
    return replace(batch, images=batch.images * gain + haze)


def measured(batch: Batch) -> Batch:
    """Sets that are known by exact block means, block means with errors, and spots, dense and sparse."""
    rng = np.random.default_rng(7)
    shares = torch.tensor([0.0, 0.0, 0.5, 0.05])[:, None, None]
    spots = torch.from_numpy(rng.random(batch.prior.shape).astype(np.float32)) < shares
    assert batch.dem is not None
    prior = torch.where(spots, batch.dem, batch.prior)
    errors = torch.tensor([0.0, 2.0, torch.inf, torch.inf])
    return replace(batch, prior=prior, spots=spots.float(), cell_error=errors)


def test_super_resolve_gives_the_mean_and_spread_of_the_cpu() -> None:
    found = {}
    for device in (CPU, GPU):
        system = pipeline.load(SHIPPED, device)
        b = lambert_set(1, 6, system.size_px, system.factor, 40.0, system.halo_cells)
        given = b.lr[0].numpy(), b.images[0].numpy(), b.sun[0].numpy(), 40.0
        with tf32(False):
            found[device] = super_resolve(system, *given, members=4, seed=3)
    for name in ("mean", "std"):
        expected = getattr(found[CPU], name)
        less = found[CPU].prior if name == "mean" else 0.0
        assert relative(getattr(found[GPU], name) - less, expected - less) < EXACT


# --- steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", TF32), ("bf16", BF16)])
@pytest.mark.parametrize("kind", ["vae", "aligned", "missing"])
def test_steps_have_the_losses_of_the_cpu(
    manifest: Path, kind: str, precision: str, tolerance: float
) -> None:
    losses: dict[torch.device, list[dict[str, float]]] = {}
    for device in (CPU, GPU):
        if kind == "vae":
            task: Any = vae_task(manifest, precision, device=device)
        else:
            stage = "fibonacci" if kind == "aligned" else "missing"
            task = bridge_task(manifest, FREE, stage, precision, device)
        batches = [range(4 * k, 4 * k + 4) for k in range(3)]
        # The last one after the critic has started.
        losses[device] = [task.step(task.prepare(n), n, 8 * k) for k, n in enumerate(batches)]
    assert all(np.isfinite(list(step.values())).all() for step in losses[GPU])
    assert [set(step) for step in losses[GPU]] == [set(step) for step in losses[CPU]]
    # Later steps start from weights that differ already: Adam's first step is as large for any gradient.
    for name, expected in losses[CPU][0].items():
        assert losses[GPU][0][name] == pytest.approx(expected, rel=tolerance, abs=1e-3), name


@pytest.mark.parametrize("kind", ["vae", "bridge"])
def test_full_size_gradients_are_the_same_each_time(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "vae":
        net: nn.Module = build_vae(VaeSection()).to(GPU)
        x = torch.randn(16, 1, 96, 96, device=GPU)

        def loss() -> torch.Tensor:
            return absolute_sum(net.decode(net.encode(x).mode()).float(), x)
    else:
        net = build_network(BridgeSection(), 96, 16, (4, 12, 12)).to(GPU)
        batch = moved(lambert_set(16, 20, 96, 16), GPU)
        x, t = torch.randn(16, 4, 12, 12, device=GPU), torch.rand(16, device=GPU)
        for parameter in net.parameters():  # those that start at zero have influence too
            parameter.data += 0.02 * torch.randn_like(parameter)

        def loss() -> torch.Tensor:
            return net(x, t, net.condition(batch)).float().square().mean()

    for enabled in (False, True):
        gradients = []
        for _ in range(3):
            net.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
                value = loss()
            value.backward()
            gradients.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
        for again in gradients[1:]:
            differ = [k for k, (a, b) in enumerate(zip(gradients[0], again)) if not torch.equal(a, b)]
            assert not differ, f"bf16 {enabled}: {len(differ)} of {len(again)} gradients differ"


# --- trainings ------------------------------------------------------------------------------------------


def trainings(manifest: Path, folder: Path) -> dict[str, partial[None]]:
    """Two trainings; each takes `out`."""
    vae = partial(train_vae, vae_stage(), "key", manifest, RUNTIME)
    aligned = bridge_stage(FREE, "missing")
    return {
        "vae": vae,
        "aligned": partial(train_bridge, aligned, "key", manifest, [], [], RUNTIME),
    }


@pytest.mark.parametrize("kind", ["vae", "aligned", "published"])
def test_a_stopped_training_ends_in_the_same_bits(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = trainings(manifest, tmp_path)
    if kind == "published":
        vae = tmp_path / "vae" / "model.safetensors"
        made["vae"](out=vae)
        bf16 = bridge_stage(PUBLISHED, precision="bf16")
        train = partial(train_bridge, bf16, "key", manifest, [str(vae)], [], RUNTIME)
    else:
        train = made[kind]
    whole, again, resumed = (tmp_path / name / "model.safetensors" for name in ("whole", "again", "resumed"))
    train(out=whole)
    train(out=again)
    assert weights(again) == weights(whole), "two trainings without a stop differ"

    task = VaeTask if kind == "vae" else BridgeTask
    step = task.step

    def asked(self: Any, prepared: Any, numbers: range, seen: int) -> dict[str, float]:
        if seen == 16:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, prepared, numbers, seen)

    monkeypatch.setattr(task, "step", asked)
    with pytest.raises(TrainingStopped) as stopped:
        train(out=resumed)
    assert stopped.value.samples == 20
    monkeypatch.setattr(task, "step", step)
    train(out=resumed)
    assert weights(resumed) == weights(whole)


def test_a_group_of_one_process_trains_the_same_over_nccl(manifest: Path, tmp_path: Path) -> None:
    train = trainings(manifest, tmp_path)["aligned"]
    alone, grouped = (tmp_path / name / "model.safetensors" for name in ("alone", "grouped"))
    train(out=alone)
    torch.cuda.set_device(GPU)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        values = torch.arange(3.0, device=GPU)
        assert torch.equal(averaged(values), values)
        train(out=grouped)
    finally:
        dist.destroy_process_group()
    assert weights(grouped) == weights(alone)


# --- evaluation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_scores_are_those_of_the_cpu(tmp_path: Path, missing: bool) -> None:
    entry = PREDICTORS["bridge"]
    model = save_system(tmp_path / "model", 0, SIZE, FACTOR, 2 * FACTOR) / "model.safetensors"
    manifest = make_test_manifest(tmp_path / "test", tiles=1, count=6)
    section = PredictorStage.model_validate(
        {"name": "bridge_missing", "module": entry.module, "make": entry.make, "members": 4, "batch": 4}
        | {"conditions": {"main": {"light": "arcs", "draw": "main", "missing": missing}}}
        | {"options": PretrainedSampler().model_dump(), "cpu_threads": 4, "bootstrap": 20}
    )
    rows = {}
    for device in ("cpu", "cuda"):
        part, examples = tmp_path / f"{device}.json", tmp_path / f"{device}.zarr.zip"
        files = {"model": [str(model)]}
        with tf32(False):
            evaluate(section, manifest, files, RuntimeSection(device=device), part, examples)
        assert examples.is_file()
        rows[device] = read_json(part, "evaluation_part/2")["rows"]["main"]
    for name in ("rmse_m", "slope_deg", "member_rmse_m", "crps_fair_m"):
        assert rows["cuda"][name] == pytest.approx(rows["cpu"][name], rel=EXACT), name


# --- memory ---------------------------------------------------------------------------------------------


def test_memory_is_given_back() -> None:
    def taken() -> float:
        gc.collect()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated() / 1e6

    def work() -> float:
        """Draw clones of the full-size system; megabytes that its weights take."""
        codec = Codec(build_vae(VaeSection()).to(GPU).eval().requires_grad_(False), VaeSection())
        system = System(BridgeSection(), 96, 16, 1.0, codec).to(GPU).eval()
        batch = moved(lambert_set(2, 6, 96, 16), GPU)
        drawn = system.sample(batch, 2, [seeded(1), seeded(2)])
        assert torch.isfinite(drawn).all()
        return sum(4e-6 * p.numel() for p in (*system.parameters(), *codec.vae.parameters()))

    work()  # kernels' own workspaces stay
    before = taken()
    size = work()
    assert size > 600
    assert taken() - before < 0.01 * size
