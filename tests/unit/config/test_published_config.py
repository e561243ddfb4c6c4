"""Which configs have the published system's peculiarities, and which do not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from pipeline.config.base import Range
from pipeline.config.root import Config, load_config

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def overlaid(*names: str) -> Config:
    """config.yaml with overlays; the DEM of a config for any site is the user's."""
    merged = copy.deepcopy(PUBLISHED)
    for name in names:
        update_config(merged, yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()))
    if merged["inputs"]["dem"] is None:
        merged["inputs"]["dem"] = "mine.tif"
    return load_config(merged)


def test_only_the_published_system_has_the_published_changes() -> None:
    """The other configs compute what they did: what they inherit of `config.yaml` is set back in them."""
    for name in ("demo", "evaluate", "lola40", "moon", "tiny"):
        config = overlaid(name)
        assert (config.patches.origin, config.illumination.azimuth) == ("even", "right"), name
        assert config.illumination.halo_px >= 16, name
        width = config.region.half_width_px
        assert width is None or width.low == width.high, name
        if "published" in config.systems:
            system = config.published
            assert (system.set_encoder, system.missing_pixel, system.weight_decay) == ("strided", 0.0, 0.01)
            assert config.arcs.fibonacci == "drawn"
            assert config.vae.gan_weight == 0 or config.vae.gan_alternate == 0
        for system in (config.system(s) for s in config.systems if s != "published"):
            assert (system.set_encoder, system.missing_pixel, system.weight_decay) == ("strided", 0.0, 0.01)
        assert set(config.arcs.test) <= {"main", "few", "many", "mid_latitude"}


def test_conditions_are_those_of_the_published_evaluation() -> None:
    config = overlaid("conditions")
    assert config.system("published") == load_config(PUBLISHED).system("published")
    conditions = config.evaluation.conditions
    assert {c.draw for c in conditions.values()} == set(config.arcs.test)
    draws = [config.arcs.test[c.draw] for name, c in conditions.items() if name not in ("main", "missing")]
    assert all(c.missing and c.systems == "primary" for name, c in conditions.items() if "_" in name)
    counts = {draw.images.low for draw in draws if draw.latitude == Range(low=0, high=90)}
    assert counts == {5, 20, 40, 100}
    bands = [draw for draw in draws if draw.latitude != Range(low=0, high=90)]
    assert [(b.latitude.low, b.latitude.high, b.images.low) for b in bands] == [
        (0, 30, 75), (30, 60, 75), (60, 90, 75)
    ]  # fmt: skip


def test_the_large_scene_is_that_of_the_paper() -> None:
    config = overlaid("map_1500")
    region = config.region
    assert (region.size_px, region.images, region.members, region.stride_px) == (3840, 1500, 4, 48)
    assert region.light.latitude == Range(low=40, high=60) and region.light.longitude == Range(low=0, high=0)
    assert region.half_width_px == Range(low=25, high=50)
    assert config.synthetic.size_px >= 3840 + 2 * 96


@pytest.mark.parametrize("residual", [False, True])
def test_the_published_system_for_two_cores_is_smaller_and_nothing_else(residual: bool) -> None:
    overlays = ["lola40", "lola40_published", *(["lola40_published_residual"] if residual else [])]
    config, own = overlaid(*overlays), load_config(PUBLISHED)
    shorter = {
        "width",
        "depth",
        "heads",
        "stages",
        "ema",
        "clip",
        *(["target", "lr_halo_px"] if residual else []),
    }
    assert config.published.model_dump(exclude=shorter) == own.published.model_dump(exclude=shorter)
    assert config.vae.target == config.published.target == ("residual" if residual else "dem")
    side = config.patches.size_px // 2 ** (len(config.vae.multipliers) - 1)
    assert (config.vae.latent_channels, side) == (4, 12)
    smaller = {"base", "multipliers", "blocks", "optimiser", "betas", "ema", "gan_weight", "target"}
    smaller |= {"height_unit"} if residual else set()
    assert config.vae.model_dump(exclude=smaller) == own.vae.model_dump(exclude=smaller)
    assert config.arcs.fibonacci == "all" and config.arcs.test == overlaid("lola40").arcs.test


def test_the_full_size_on_a_gpu_is_the_published_system_under_the_light_of_lola40() -> None:
    config, own = overlaid("lola40", "lola40_published_gpu"), load_config(PUBLISHED).published
    system = config.published
    for key in ("set_encoder", "missing_pixel", "weight_decay", "width", "depth", "heads", "conditioning"):
        assert getattr(system, key) == getattr(own, key), key
    assert config.arcs.fibonacci == "all"
    assert config.arcs.test == overlaid("lola40").arcs.test
    assert (config.illumination, config.split) == (overlaid("lola40").illumination, overlaid("lola40").split)
