"""Classical shape from shading, on terrain that is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from model_sets import lambert_set
from torch import Tensor

from pipeline.config.photometry import PhotometrySection
from pipeline.config.predictors import SfsSection
from pipeline.illumination.photometry import surface_gradients
from pipeline.models.batch import Batch
from pipeline.models.light_classes import CLASSES, light_classes
from pipeline.models.shading import Shaded, shape_from_shading, start_of
from pipeline.models.shading_scale import rendered
from pipeline.terrain.blocks import block_mean

FACTOR = 8


@pytest.fixture(scope="module")
def sets() -> Batch:
    """Two patches of 48 pixels under 8 Suns; the a priori DEM lacks what is narrower than two cells."""
    return lambert_set(batch=2, images=8, size=48, factor=FACTOR, halo_cells=1)


def solved(batch: Batch, start: Tensor | None = None, **options: float) -> Shaded:
    start = start_of(batch, FACTOR) if start is None else start
    return shape_from_shading(batch, start, FACTOR, SfsSection.model_validate(options))


def rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


@pytest.fixture(scope="module")
def found(sets: Batch) -> Shaded:
    return solved(sets)


def test_perfect_images_bring_the_surface(sets: Batch, found: Shaded) -> None:
    assert rms(found.dem - sets.dem) < 0.1 * rms(start_of(sets, FACTOR) - sets.dem)


def test_exact_block_means_are_kept_and_others_are_not(sets: Batch, found: Shaded) -> None:
    means = block_mean(sets.dem, FACTOR)
    torch.testing.assert_close(block_mean(found.dem, FACTOR), means, atol=0.02, rtol=0)
    off = replace(sets, prior=sets.prior + 10 * torch.linspace(-1, 1, 48), cell_error=torch.full((2,), 5.0))
    loose = solved(off)
    assert rms(loose.dem - sets.dem) < 0.7 * rms(off.prior - sets.dem)


def test_exposures_and_haze_are_found(sets: Batch) -> None:
    """Under low Suns, where shading varies enough to be told from haze."""
    azimuth = torch.linspace(0, 2 * torch.pi, 9)[:-1]
    sun = torch.stack([0.94 * azimuth.sin(), 0.94 * azimuth.cos(), torch.full((8,), 0.342)], dim=1)
    law, flat = PhotometrySection(law="lambert"), sets.dem / sets.pixel_m[:, None, None]
    images = torch.stack([rendered(*surface_gradients(z, 1.0), sun, law) for z in flat])
    gain = torch.tensor([0.8, 1.2, 1.0, 0.9, 1.1, 1.0, 1.25, 0.85])
    haze = torch.tensor([0.0, 0.02, 0.05, 0.0, 0.03, 0.0, 0.0, 0.04])
    seen = images * gain[:, None, None] + images.mean() * haze[:, None, None]
    found = solved(replace(sets, images=seen, sun=sun.expand(2, -1, -1)), haze_constraint_weight=1.0)
    ratio = found.exposure / gain
    assert rms(ratio / ratio.mean() - 1) < 0.03
    assert rms(found.haze - haze) < 0.4 * rms(haze)
    assert rms(found.dem - sets.dem) < 0.2 * rms(start_of(sets, FACTOR) - sets.dem)


def test_darker_ground_does_not_tilt_it(sets: Batch) -> None:
    """All of the ground darker than the law says, and block means free: slopes have nothing to explain."""
    free = replace(sets, cell_error=torch.full((2,), 5.0))
    bright, dark = (solved(replace(free, images=k * sets.images), sets.dem) for k in (1.0, 0.6))
    torch.testing.assert_close(dark.dem, bright.dem, atol=0.05, rtol=0)
    off = (dark.dem - sets.dem) / sets.pixel_m[:, None, None]
    for dim in (1, 2):
        tilt = off.narrow(dim, 24, 24).mean() - off.narrow(dim, 0, 24).mean()
        assert abs(float(tilt)) / 24 < 5e-3  # of slopes that are 0.2 and more


@pytest.mark.parametrize("dark", ["no image", "no light"])
def test_without_light_it_is_the_start(sets: Batch, dark: str) -> None:
    given = replace(sets, images=0 * sets.images)
    if dark == "no image":
        empty = {"images": sets.images[:, :0], "valid": sets.valid[:, :0], "sun": sets.sun[:, :0]}
        given = replace(sets, **empty, present=sets.present[:, :0])
    assert torch.equal(solved(given, sets.prior).dem, sets.prior)


def test_a_firm_start_stays(sets: Batch) -> None:
    firm = solved(sets, initial_dem_constraint_weight=1e12).dem
    torch.testing.assert_close(firm, start_of(sets, FACTOR), atol=1e-3, rtol=0)


def test_patches_do_not_depend_on_their_batch(sets: Batch, found: Shaded) -> None:
    for row in (1, 0):
        wide = sets.part(slice(row, row + 1))
        padding = {
            "images": torch.cat([wide.images, 0 * wide.images[:, :3]], dim=1),
            "valid": torch.cat([wide.valid, wide.valid[:, :3]], dim=1),
            "sun": torch.cat([wide.sun, wide.sun[:, :3]], dim=1),
            "present": torch.cat([wide.present, ~wide.present[:, :3]], dim=1),
        }
        with torch.inference_mode():
            alone = solved(replace(wide, **padding))
        assert torch.equal(alone.dem[0], found.dem[row])
        assert torch.equal(alone.exposure[0, :8], found.exposure[row])
        assert (alone.exposure[0, 8:] == 1).all()


@pytest.mark.parametrize("law", ["lambert", "lunar_lambert", "hapke"])
def test_renderings_have_their_gradient(law: str) -> None:
    generator = torch.Generator().manual_seed(3)
    # A slope of 1 under a Sun 20 degrees high: some of the ground faces away.
    height = torch.randn(6, 6, dtype=torch.float64, generator=generator).requires_grad_()
    sun = torch.tensor([[0.94, 0.0, 0.342], [0.0, -0.6, 0.8]], dtype=torch.float64)
    photometry = PhotometrySection(law=law)

    def render(z: Tensor) -> Tensor:
        return rendered(*surface_gradients(z, 1.0), sun, photometry)

    assert torch.autograd.gradcheck(render, height, atol=1e-6)


def test_altimetry_starts_from_a_spline_of_its_spots(sets: Batch) -> None:
    spots = torch.zeros_like(sets.prior)
    spots[0, ::6] = 1.0
    prior = torch.where(spots > 0, sets.dem, 500.0)
    prior[1] = sets.prior[1]
    given = replace(sets, prior=prior, spots=spots, cell_error=torch.tensor([torch.inf, 0.0]))
    start = start_of(given, FACTOR)
    assert rms((start - sets.dem)[0]) < 0.2 * float(sets.pixel_m[0])
    assert torch.equal(start[1], start_of(sets, FACTOR)[1])
    held, loose = (solved(given, spot_constraint_weight=weight).dem for weight in (1e4, 0.0))
    moved = [rms((dem - start)[0][spots[0] > 0]) for dem in (held, loose)]
    assert moved[0] < 0.2 * moved[1]
    assert torch.equal(held[1], loose[1])


def test_classes_of_light() -> None:
    images = torch.ones(1, 4, 12, 12)
    images[0, :, :, 0] = 0.0  # dark for all: beside it, penumbra
    images[0, :2, :, 8:] = 0.0  # two images only light the rest
    given = lambert_set(batch=1, images=4, size=12, factor=4)
    classes = light_classes(replace(given, images=images, valid=torch.ones_like(images, dtype=torch.bool)))
    told = [CLASSES[k] for k in classes[0, 5].tolist()]
    assert told == ["dark"] + 2 * ["penumbra"] + 5 * ["shadow-free"] + 4 * ["lit by 1-2 images"]
