"""Batches: radiance, a priori DEM and flips agree with what they are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from shard_files import FACTOR, HALO, PIXEL_M, SIDE, SIZE, terrain, write_split, write_tile
from torch.nn import functional as F

from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.missing import strip_mask
from pipeline.illumination.photometry import radiance
from pipeline.models.batch import Batch, flip, pad_sets, transpose
from pipeline.shards.batches import Sample, assemble, edge_surface, read_sample
from pipeline.shards.reader import Shard
from pipeline.shards.scene import FibonacciScene, ImageSet
from pipeline.shards.write import write_shard
from pipeline.terrain.blocks import fill_nearest

LAW = PhotometrySection()


def shard(folder: Path, light_halo_px: int) -> Shard:
    tile = write_tile(folder, light_halo_px=light_halo_px)
    split = write_split(folder, {int(i): "train" for i in tile.ids})
    write_shard("train", tile.patches, tile.visibility, split, FACTOR, folder / "shard.zarr.zip")
    return Shard(folder / "shard.zarr.zip")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    """Light as published: the patch's own terrain only."""
    return shard(tmp_path_factory.mktemp("alone"), 0)


@pytest.fixture(scope="module")
def surrounded(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return shard(tmp_path_factory.mktemp("surrounded"), HALO)


def images(count: int, seed: int = 0, strips: bool = False) -> ImageSet:
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, 360, count)
    suns = rng.normal(size=(count, 3))
    suns[:, 2] = abs(suns[:, 2]) + 0.1
    suns /= np.linalg.norm(suns, axis=1, keepdims=True)
    cut = np.column_stack(
        [rng.uniform(0, SIZE, (count, 2)), rng.uniform(-135, 45, count), rng.uniform(2, 5, count)]
    )
    return ImageSet("fixed", chosen, suns, cut if strips else None)


def batch_of(shard: Shard, counts: Sequence[int], halo_cells: int = 1, strips: bool = False) -> Batch:
    samples = [read_sample(shard, p, images(n, p, strips), halo_cells) for p, n in enumerate(counts)]
    return assemble(samples, halo_cells, FACTOR, LAW)


def test_heights_count_from_the_mean_of_the_patchs_a_priori_pixels(alone: Shard) -> None:
    batch = batch_of(alone, [3, 3, 3], halo_cells=2)
    assert batch.dem is not None
    for row in range(3):
        dem = alone.dem(row)[HALO:-HALO, HALO:-HALO].astype("f8")
        blocks = dem.reshape(4, FACTOR, 4, FACTOR).mean(axis=(1, 3))
        assert_allclose(batch.reference[row], blocks.mean(), rtol=1e-6)
        assert_allclose(batch.dem[row], dem - blocks.mean(), atol=1e-3)
        assert_allclose(batch.lr[row, 2:-2, 2:-2], blocks - blocks.mean(), atol=1e-3)
    assert batch.lr.shape == (3, 8, 8)
    assert batch.pixel_m.tolist() == [PIXEL_M] * 3


@pytest.mark.parametrize("halo_cells", [0, 1, 2])
def test_the_prior_is_the_bicubic_of_its_window_cropped(alone: Shard, halo_cells: int) -> None:
    batch = batch_of(alone, [1], halo_cells)
    reach = halo_cells * FACTOR
    side = slice(HALO - reach, SIDE - HALO + reach)
    window = torch.tensor(alone.dem(0)[side, side])
    cells = F.avg_pool2d(window.double()[None, None], FACTOR)
    up = F.interpolate(cells, scale_factor=FACTOR, mode="bicubic", align_corners=False)[0, 0]
    cropped = up[reach : reach + SIZE, reach : reach + SIZE]
    assert_allclose(batch.prior[0] + batch.reference[0], cropped, atol=2e-3)


def test_two_cells_of_halo_give_the_bicubic_of_the_whole_terrain(alone: Shard) -> None:
    land = torch.from_numpy(terrain(SIDE + SIZE * 5)).double()
    rows = (land.shape[0] // FACTOR) * FACTOR
    cells = F.avg_pool2d(land[None, None, :rows, :rows], FACTOR)
    up = F.interpolate(cells, scale_factor=FACTOR, mode="bicubic", align_corners=False)[0, 0]
    two, one = batch_of(alone, [1] * 3, 2), batch_of(alone, [1] * 3, 1)
    for patch in range(3):
        left = HALO + SIZE * patch
        wanted = up[HALO : HALO + SIZE, left : left + SIZE]
        assert_allclose(two.prior[patch] + two.reference[patch], wanted, atol=2e-3)
        assert (one.prior[patch] + one.reference[patch] - wanted).abs().max() > 0.01


def test_images_are_radiance_times_visibility(surrounded: Shard) -> None:
    batch = batch_of(surrounded, [4, 4])
    for row in range(2):
        drawn = images(4, row)
        dem = torch.tensor(surrounded.dem(row)).double()
        light = radiance(dem, PIXEL_M, torch.from_numpy(drawn.suns), None, LAW)[:, HALO:-HALO, HALO:-HALO]
        seen = surrounded.visible("fixed", row, drawn.images) / 255
        assert_allclose(batch.images[row], light.numpy() * seen, atol=2e-5)
    assert batch.images.max() > 0.1


def test_light_of_the_patch_alone_has_one_sided_slopes_at_the_edge(alone: Shard, surrounded: Shard) -> None:
    dem = alone.dem(0)[HALO:-HALO, HALO:-HALO]
    for shard, use_halo in ((alone, False), (surrounded, True)):
        drawn = images(6)
        surface = read_sample(shard, 0, drawn, 1).surface
        assert_array_equal(surface, edge_surface(shard.dem(0), HALO, SIZE, use_halo))
        assert_array_equal(surface[1:-1, 1:-1], dem)
        found = radiance(torch.from_numpy(surface).double(), PIXEL_M, torch.from_numpy(drawn.suns), None, LAW)
        source = shard.dem(0) if use_halo else dem
        wanted = radiance(torch.tensor(source).double(), PIXEL_M, torch.from_numpy(drawn.suns), None, LAW)
        if use_halo:
            wanted = wanted[:, HALO:-HALO, HALO:-HALO]
        assert_allclose(found[:, 1:-1, 1:-1], wanted, atol=1e-6)


def test_smaller_sets_are_padded() -> None:
    suns = [np.full((n, 3), n, np.float32) for n in (1, 0, 2)]
    padded, zenith = pad_sets(suns, (0, 0, 1)), [0, 0, 1]
    assert_array_equal(padded, [[[1, 1, 1], zenith], [zenith, zenith], [[2, 2, 2], [2, 2, 2]]])
    assert padded.dtype == np.float32
    assert_array_equal(pad_sets([np.ones(0, bool)], least=1), [[False]])


def test_missing_surroundings_go_on_linearly() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    plane = (3.0 * x - 2.0 * y).astype("f4")
    holed = plane.copy()
    holed[:HALO] = holed[:, SIDE - HALO :] = np.nan
    for use_halo in (True, False):
        surface = edge_surface(holed, HALO, SIZE, use_halo)
        wanted = plane[HALO - 1 : SIDE - HALO + 1, HALO - 1 : SIDE - HALO + 1]
        assert_allclose(surface, wanted, atol=1e-3)
    assert np.isfinite(edge_surface(plane[HALO:-HALO, HALO:-HALO], 0, SIZE, True)).all()


def test_fill_nearest_holds_the_edge_of_the_data() -> None:
    cells = np.array([[1, 2, np.nan], [3, 4, np.nan], [np.nan, np.nan, np.nan]], "f4")
    assert_array_equal(fill_nearest(cells), [[1, 2, 2], [3, 4, 4], [3, 4, 4]])
    whole = np.ones((2, 2), "f4")
    assert fill_nearest(whole) is whole


def test_a_priori_cells_beyond_the_data_are_held(alone: Shard) -> None:
    class Edge:
        """The first patch with nothing above it."""

        attrs, visible = alone.attrs, alone.visible

        def dem(self, patch: int) -> np.ndarray:
            out = alone.dem(patch).copy()
            out[: HALO - 1] = np.nan  # all but one row of the nearest cells: too little for a mean
            return out

    sample = read_sample(Edge(), 0, images(1), 2)  # type: ignore[arg-type]
    assert_array_equal(sample.lr[0], sample.lr[2])
    assert_array_equal(sample.lr[1], sample.lr[2])
    assert_array_equal(sample.lr[2:], read_sample(alone, 0, images(1), 2).lr[2:])


def test_padding_changes_no_image_that_is_present(alone: Shard) -> None:
    together, single = batch_of(alone, [2, 7, 4], strips=True), batch_of(alone, [2], strips=True)
    assert together.images.shape == (3, 7, SIZE, SIZE)
    assert together.present.tolist() == [[i < n for i in range(7)] for n in (2, 7, 4)]
    assert_array_equal(together.images[0, :2], single.images[0])
    assert_array_equal(together.valid[0, :2], single.valid[0])
    assert_array_equal(together.prior[0], single.prior[0])
    assert not together.valid[0, 2:].any()
    assert not together.images[0, 2:].any()
    assert_allclose(together.sun.norm(dim=-1), 1, atol=1e-6)


def test_outside_its_strip_an_image_is_neither_valid_nor_bright(alone: Shard) -> None:
    cut, whole = batch_of(alone, [5], strips=True), batch_of(alone, [5])
    mask = strip_mask(images(5, 0, True).strips.astype("f4"), SIZE)
    assert 0 < mask.mean() < 1
    assert_array_equal(cut.valid[0], mask)
    assert_array_equal(cut.images[0], whole.images[0] * torch.from_numpy(mask))
    assert whole.valid.all()


def test_no_images_at_all_is_a_batch_too(alone: Shard) -> None:
    batch = batch_of(alone, [0, 0])
    assert batch.images.shape == (2, 0, SIZE, SIZE)
    assert len(batch) == 2


@pytest.mark.parametrize("mirrored", [(True, False), (False, True), (True, True)])
def test_a_flipped_batch_is_what_flipped_terrain_and_suns_would_give(
    surrounded: Shard, mirrored: tuple[bool, bool]
) -> None:
    axes = [axis for axis, turn in zip((-1, -2), mirrored) if turn]
    signs = np.array([-1.0 if mirrored[0] else 1.0, -1.0 if mirrored[1] else 1.0, 1.0])

    def turned(sample: Sample) -> Sample:
        return replace(
            sample,
            surface=np.flip(sample.surface, axes).copy(),
            lr=np.flip(sample.lr, axes).copy(),
            visible=np.flip(sample.visible, axes).copy(),
            suns=sample.suns * signs,
        )

    samples = [read_sample(surrounded, p, images(4, p), 2) for p in range(3)]
    found = flip(assemble(samples, 2, FACTOR, LAW), np.array([mirrored] * 3))
    wanted = assemble([turned(s) for s in samples], 2, FACTOR, LAW)
    for name in ("dem", "lr", "images", "prior", "sun", "valid", "present", "reference"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert_allclose(a, b, atol=0 if name in ("sun", "valid", "present") else 2e-4, err_msg=name)
    assert_allclose(found.images, wanted.images, atol=1e-6)


def test_a_transposed_batch_is_what_transposed_terrain_and_suns_would_give(surrounded: Shard) -> None:
    def turned(sample: Sample) -> Sample:
        across = np.stack([-sample.suns[:, 1], -sample.suns[:, 0], sample.suns[:, 2]], axis=1)
        maps = {name: getattr(sample, name).swapaxes(-1, -2).copy() for name in ("surface", "lr", "visible")}
        return replace(sample, suns=across, **maps)

    samples = [read_sample(surrounded, p, images(4, p), 2) for p in range(3)]
    batch = assemble(samples, 2, FACTOR, LAW)
    found = transpose(batch, np.array([True, False, True]))
    wanted = assemble([turned(samples[0]), samples[1], turned(samples[2])], 2, FACTOR, LAW)
    for name in ("dem", "lr", "images", "prior", "sun", "valid", "present", "reference"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert_allclose(a, b, atol=0 if name in ("valid", "present") else 2e-4, err_msg=name)
    assert_allclose(found.images, wanted.images, atol=1e-6)
    assert_array_equal(transpose(found, np.array([True, False, True])).images, batch.images)


def test_flips_touch_the_chosen_patches_alone(alone: Shard) -> None:
    batch = batch_of(alone, [3, 3, 3], strips=True)
    mirrored = np.array([[False, False], [True, False], [False, True]])
    once = flip(batch, mirrored)
    assert_array_equal(once.images[0], batch.images[0])
    assert_array_equal(once.images[1], batch.images[1].flip(-1))
    assert_array_equal(once.valid[2], batch.valid[2].flip(-2))
    assert once.dem is not None
    twice = flip(once, mirrored)
    for name in ("dem", "lr", "prior", "images", "valid", "sun"):
        assert_array_equal(getattr(twice, name), getattr(batch, name))


def test_a_batch_without_truth_can_be_flipped(alone: Shard) -> None:
    batch = replace(batch_of(alone, [2]), dem=None)
    assert flip(batch, np.array([[True, True]])).dem is None


def test_reading_needs_no_random_numbers_of_its_own(alone: Shard) -> None:
    drawn = FibonacciScene((3, 5)).image_set(alone, 1, np.random.default_rng(3))
    first, second = (read_sample(alone, 1, drawn, 1) for _ in range(2))
    for name in ("surface", "lr", "visible", "suns"):
        assert_array_equal(getattr(first, name), getattr(second, name))
