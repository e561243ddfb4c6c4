"""Shape from shading as predictors: alone, and after a bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from model_sets import lambert_set

from pipeline.config.root import load_config
from pipeline.jobs.seeds import seeded
from pipeline.models.shading import start_of
from pipeline.predictors import hybrid, sfs
from pipeline.predictors.interface import Setup
from pipeline.provenance.plan import Plan
from pipeline.provenance.sections import predictor_code
from saved_models import save_system

ROOT = Path(__file__).resolve().parents[3]
GRID = {"size_px": 32, "halo_px": 16, "factor": 8, "pixel_m": 40.0}
BATCH = lambert_set(batch=2, images=6, size=32, factor=8, halo_cells=2)
FIRM = {"initial_dem_constraint_weight": 1e12, "max_iterations": 2, "max_coarse_iterations": 1}
FEW = {"members": 2, "sampler": {"nfe": 1}}


def sources() -> list[torch.Generator]:
    return [seeded(1, k) for k in range(2)]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    model = save_system(tmp_path_factory.mktemp("model")) / "model.safetensors"
    return Setup(GRID, files={"model": [str(model)]})


def test_sfs_is_nearer_to_the_truth_than_its_start() -> None:
    found = sfs.make(Setup(GRID)).sample(BATCH, 3, [])
    assert found.shape == (2, 1, 32, 32)  # one member, whatever is asked for
    assert (found[:, 0] - BATCH.dem).std() < 0.5 * (start_of(BATCH, 8) - BATCH.dem).std()


def test_the_hybrid_starts_from_the_mean_of_the_clones(setup: Setup) -> None:
    firm = hybrid.make(Setup(GRID, FEW | FIRM, setup.files))
    mean = firm.system.sample(BATCH, 2, sources(), firm.section.sampler).mean(dim=1)
    torch.testing.assert_close(firm.sample(BATCH, 1, sources())[:, 0], mean, atol=1e-3, rtol=0)
    loose = hybrid.make(Setup(GRID, FEW, setup.files)).sample(BATCH, 1, sources())[:, 0]
    assert (loose - BATCH.dem).std() < 0.7 * (mean - BATCH.dem).std()


def plan(folder: Path, source: Path | None = None, **more: Any) -> Plan:
    config = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text())
    config["predictors"] = {"scored": ["sfs", "hybrid"], **more}
    return Plan(load_config(config), folder, source=source)


def test_the_hybrid_reads_the_primary_systems_weights(tmp_path: Path) -> None:
    found = plan(tmp_path)
    primary = found.config.primary
    assert found.files_of("hybrid") == found.files_of(primary) != found.files_of("sfs")
    assert primary in found["evaluation_hybrid"].inputs
    assert not found.files_of("sfs")["model"]


def test_the_law_of_the_renderings_belongs_to_the_key(tmp_path: Path) -> None:
    before, after = plan(tmp_path), plan(tmp_path, sfs={"reflectance": "hapke"})
    moved = {name for name, stage in after.stages.items() if stage.key != before[name].key}
    assert moved == {"evaluation_sfs", "evaluation", "report", "bundle"}
    assert "pipeline.illumination.laws.hapke" in predictor_code(after, "sfs")
    assert "pipeline.illumination.laws.hapke" not in predictor_code(before, "sfs")
