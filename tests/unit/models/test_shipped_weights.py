"""The shipped weights know no scale: trained at 40 m, they serve any pixel size, relabelled or real."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import yaml
from numpy.typing import NDArray
from scipy import ndimage

import pipeline
from pipeline.config.bridge import BridgeSection
from pipeline.config.names import SCENE_STAGES
from pipeline.config.photometry import PhotometrySection
from pipeline.evaluation.metrics import PatchScores
from pipeline.illumination.directions import fixed_directions, near_suns, sun_arc
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.photometry import radiance
from pipeline.models.system import System
from pipeline.predict import Prediction, coarse, super_resolve
from pipeline.terrain.bicubic import bicubic_up

SHIPPED = Path(__file__).resolve().parents[3] / "pretrained" / "lola40"
SIZE, FACTOR, HALO, IMAGES = 96, 16, 32, 20
INNER = np.s_[HALO : HALO + SIZE, HALO : HALO + SIZE]


def test_their_config_says_what_was_trained_and_how_clones_are_drawn() -> None:
    """As the card does: the section `bridge` of config/lola40.yaml."""
    section = json.loads((SHIPPED / "config.json").read_text())["section"]
    stages = section["stages"]
    assert sum(stage["samples"] for stage in stages.values()) == 41_200
    assert {stage["batch"] for stage in stages.values()} == {16}
    assert section["sampler"] == {"nfe": 4, "kind": "dbim", "eta": 1.0, "grid": "quadratic"}
    lola40 = yaml.safe_load((SHIPPED.parents[1] / "config" / "lola40.yaml").read_text())
    wanted = BridgeSection.model_validate(lola40["bridge"]).model_dump(mode="json")
    # Keys that are younger than the weights, at the values that they were trained with.
    assert [wanted.pop("init"), *(wanted["stages"].pop(name) for name in SCENE_STAGES)] == [None] * 4
    assert [wanted.pop("refine"), wanted.pop("relative_loss")] == [False] * 2
    assert [wanted.pop("set_encoder"), wanted.pop("missing_pixel")] == ["strided", 0.0]
    assert [wanted.pop("calibration_margin"), wanted.pop("hit_share")] == [1.0, 1.0]
    assert section == wanted
    system = pipeline.load(SHIPPED)
    assert (system.section.sampler.kind, system.section.sampler.nfe) == ("dbim", 4)
    assert "41,200 samples" in (SHIPPED / "README.md").read_text()


@dataclass(frozen=True)
class Site:
    """A patch with its halo (160, 160), metres, and 20 images of a Sun arc of latitude 85."""

    dem: NDArray[np.float64]
    pixel_m: float
    images: NDArray[np.float64]
    suns: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.float64]:
        return self.dem[INNER]


def site(dem: NDArray[np.float64], pixel_m: float, seed: int = 0) -> Site:
    rng = np.random.default_rng(seed)
    fixed = fixed_directions()
    usable = near_suns(sun_arc(360 * rng.random(), 85.0), 0.1, fixed)
    suns = fixed[rng.choice(usable, IMAGES)].astype(float)
    lit = HorizonVisibility(dem, pixel_m, (HALO, HALO, SIZE, SIZE)).lit(suns)
    light = radiance(
        torch.from_numpy(dem), pixel_m, torch.from_numpy(suns), None, PhotometrySection(law="lambert")
    ).numpy()
    return Site(dem, pixel_m, light[:, HALO : HALO + SIZE, HALO : HALO + SIZE] * lit, suns)


def resolved(system: System, given: Site, members: int) -> Prediction:
    lr = coarse(given.dem, FACTOR)
    return super_resolve(system, lr, given.images, given.suns, given.pixel_m, members=members)


def errors(given: Site, found: Prediction) -> dict[str, tuple[float, float]]:
    """RMSE in metres and slope error in degrees of the model and of bicubic, of the window and the patch."""
    alone = bicubic_up(torch.from_numpy(coarse(given.truth, FACTOR)), FACTOR).numpy()
    out = {}
    for name, dem in {"model": found.mean, "window": found.prior, "bicubic": alone}.items():
        scores = PatchScores(given.pixel_m)
        scores.add(dem, given.truth)
        summary = scores.summary(2, 0)
        out[name] = (summary["rmse_m"], summary["slope_deg"])
    return out


@pytest.fixture(scope="module")
def system() -> System:
    if not (SHIPPED / "model.safetensors").is_file():
        pytest.skip("pretrained/lola40 holds no weights")
    return pipeline.load(SHIPPED)


@pytest.mark.parametrize("pixel_m", [5.0, 20.0, 30.0])
def test_relabelled_terrain_gives_the_same_up_to_the_scale(system: System, pixel_m: float) -> None:
    """40 m terrain with heights scaled along: equal slopes, light and clones, counted in pixels."""
    rng = np.random.default_rng(3)
    dem = ndimage.gaussian_filter(rng.normal(size=(SIZE + 2 * HALO,) * 2), 5) * 1500
    at_40, other = site(dem, 40.0), site(dem * pixel_m / 40, pixel_m)
    a, b = (resolved(system, given, members=2) for given in (at_40, other))
    assert np.abs(a.clones - a.prior).max() > 2  # metres: the network does something
    np.testing.assert_allclose(b.clones / pixel_m, a.clones / 40, atol=2e-4)
    np.testing.assert_allclose(b.std / pixel_m, a.std / 40, atol=2e-4)
    for name, (rmse, slope) in errors(at_40, a).items():
        scaled = errors(other, b)[name]
        assert scaled[0] / pixel_m == pytest.approx(rmse / 40, rel=5e-3), name
        assert scaled[1] == pytest.approx(slope, rel=5e-3), name


def test_heights_not_scaled_along_are_other_terrain(system: System) -> None:
    """The counterpart: the pixel size does enter, or the test above would hold for anything."""
    rng = np.random.default_rng(3)
    dem = ndimage.gaussian_filter(rng.normal(size=(SIZE + 2 * HALO,) * 2), 5) * 1500
    given = site(dem, 40.0)
    lr = coarse(dem, FACTOR)
    a, b = (super_resolve(system, lr, given.images, given.suns, p, members=2) for p in (40.0, 60.0))
    assert np.abs(a.clones - b.clones).max() > 1


@pytest.mark.parametrize("corner", [(0, 0), (0, 96), (96, 0), (96, 96)])
def test_real_five_metre_terrain_is_sharpened(
    system: System, shared_data: Path, corner: tuple[int, int]
) -> None:
    """80 m -> 5 m of Shoemaker's floor: a pixel size that training never saw; its ground it saw at 40 m."""
    with rasterio.open(shared_data / "lola_5m" / "shoemaker_5m.tif") as source:
        dem = source.read(1).astype(float)
    row, col = corner
    given = site(dem[row : row + SIZE + 2 * HALO, col : col + SIZE + 2 * HALO], 5.0)
    found = errors(given, resolved(system, given, members=8))
    for name in ("bicubic", "window"):
        assert found["model"][0] < 0.3 * found[name][0], name
        assert found["model"][1] < 0.3 * found[name][1], name


def test_real_five_metre_terrain_with_orbit_tracks_is_sharpened(system: System, shared_data: Path) -> None:
    """A crater wall whose truth has the noise of altimetry tracks."""
    wall = np.load(shared_data / "lola_5m" / "shackleton_wall_5m.npy").astype(float)
    for row, col in ((100, 100), (300, 600)):
        given = site(wall[row : row + SIZE + 2 * HALO, col : col + SIZE + 2 * HALO], 5.0)
        found = errors(given, resolved(system, given, members=8))
        for name in ("bicubic", "window"):
            assert found["model"][0] < found[name][0], name
            assert found["model"][1] < found[name][1], name


def test_the_interim_weights_take_cells_altimetry_and_no_image_at_all() -> None:
    """Those of pretrained/moon: images make either a priori DEM much better; none leaves what went in."""
    folder = SHIPPED.with_name("moon")
    moon = pipeline.load(folder)
    assert moon.section.refine and moon.section.relative_loss
    fingerprint = json.loads((folder / "config.json").read_text())["fingerprint"]
    assert fingerprint in (folder / "README.md").read_text()
    rng = np.random.default_rng(3)
    dem = ndimage.gaussian_filter(rng.normal(size=(SIZE + 2 * HALO,) * 2), 5) * 400
    given = site(dem, 40.0)
    hit = rng.random((SIZE, SIZE)) < 0.1
    tracks = {"altimetry": np.where(hit, given.truth, np.nan), "spots": hit.astype(float)}
    lr, nothing = coarse(dem, FACTOR), (np.zeros((0, SIZE, SIZE)), np.zeros((0, 3)))

    def off(images: NDArray[np.float64], suns: NDArray[np.float64], **more: Any) -> float:
        found = super_resolve(moon, lr, images, suns, 40.0, members=16, **more)
        return float(np.sqrt(np.mean((found.mean - given.truth) ** 2)))

    bicubic = float(np.sqrt(np.mean((resolved(moon, given, 2).prior - given.truth) ** 2)))
    assert off(given.images, given.suns) < 0.35 * bicubic
    assert off(*nothing) < 1.05 * bicubic
    assert off(given.images, given.suns, **tracks) < 0.7 * off(*nothing, **tracks)
