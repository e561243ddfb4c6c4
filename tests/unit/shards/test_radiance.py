"""Radiance in test shards: the images that training computes, in half precision, for users alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from shard_files import FACTOR, HALO, SIZE, Tile, write_draws, write_split, write_tile

from pipeline.config.photometry import PhotometrySection
from pipeline.shards.batches import assemble, read_sample
from pipeline.shards.radiance import image_writer
from pipeline.shards.reader import Shard
from pipeline.shards.scene import ImageSet
from pipeline.shards.write import write_shard
from pipeline.storage.store import read_store

LAMBERT = PhotometrySection(law="lambert", albedo=0.2)


def write(folder: Path, tile: Tile, name: str, photometry: PhotometrySection | None) -> Path:
    ids = [int(i) for i in tile.ids]
    split = write_split(folder, dict.fromkeys(ids[1:], "test") | {ids[0]: "train"})
    arcs, masks = write_draws(folder, ids)
    images = image_writer(photometry)
    out = folder / f"{name}.zarr.zip"
    write_shard("test", tile.patches, tile.visibility, split, FACTOR, out, arcs, masks, images)
    return out


@pytest.mark.parametrize("sun", ["point", "disc"])
@pytest.mark.parametrize("light_halo_px", [0, 4])
@pytest.mark.parametrize("photometry", [LAMBERT, PhotometrySection()], ids=["lambert", "published"])
def test_users_get_the_images_that_training_computes(
    tmp_path: Path, sun: str, light_halo_px: int, photometry: PhotometrySection
) -> None:
    tile = write_tile(tmp_path, count=3, light_halo_px=light_halo_px, sun=sun)
    path = write(tmp_path, tile, "images", photometry)
    # The one-liner of docs/formats.md.
    light = xr.open_zarr(zarr.storage.ZipStore(str(path), mode="r"), group="fixed")
    stored = light["radiance"]
    assert stored.dims == ("patch", "direction", "y", "x") and stored.shape == (2, 360, SIZE, SIZE)
    assert stored.dtype == np.float16 and stored.attrs["law"] == photometry.law
    shard = Shard(path)
    for patch in range(2):
        every = ImageSet("fixed", np.arange(360), shard.fixed_suns.astype(float))
        batch = assemble(
            [read_sample(shard, patch, every, HALO // FACTOR)], HALO // FACTOR, FACTOR, photometry
        )
        images = batch.images[0].numpy()
        assert 0.05 < images.max() < 1
        np.testing.assert_allclose(stored[patch].values, images, rtol=2**-11 + 1e-4, atol=1e-6)
        assert (stored[patch].values[images == 0] == 0).all()


def test_the_training_path_does_not_see_them(tmp_path: Path) -> None:
    tile = write_tile(tmp_path, count=3)
    with_images, without = (Shard(write(tmp_path, tile, n, p)) for n, p in (("a", LAMBERT), ("b", None)))
    assert "radiance" in read_store(with_images.path, "fixed")
    assert "radiance" not in read_store(without.path, "fixed")
    chosen = ImageSet("fixed", np.arange(0, 360, 40), with_images.fixed_suns[::40].astype(float))
    for one, two in zip(read_sample(with_images, 1, chosen, 1).__dict__.values(),
                        read_sample(without, 1, chosen, 1).__dict__.values(), strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, two)


def test_strips_with_seams_and_blocks_keep_their_numbers(tmp_path: Path) -> None:
    """Rows of either length in one draw: the shorter get zeros, which mean none."""
    tile = write_tile(tmp_path, count=3)
    ids = [int(i) for i in tile.ids]
    split = write_split(tmp_path, dict.fromkeys(ids, "test"))
    arcs, masks = write_draws(tmp_path, ids)
    table = json.loads(masks.read_text())
    full = [[8.0, 8.0, 20.0, 5.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0, 0.0]] * 4
    table["draws"]["main"][str(ids[1])]["strips"] = full
    masks.write_text(json.dumps(table))
    out = tmp_path / "s.zarr.zip"
    write_shard("test", tile.patches, tile.visibility, split, FACTOR, out, arcs, masks)
    strips = Shard(out).draws("main")["strips"]
    assert strips.shape == (3, 5, 14)
    np.testing.assert_array_equal(strips[1, :4], full)
    assert not strips[[0, 2], :, 4:].any() and strips[0, 1].tolist()[:4] == [8.0, 8.0, 30.0, 4.0]
    table["draws"]["main"][str(ids[1])]["strips"] = full[:3]
    masks.write_text(json.dumps(table))
    with pytest.raises(
        ValueError, match=rf"masks\.json: main: patch {ids[1]}: expected 4 masks, one per image, found 3"
    ):
        write_shard("test", tile.patches, tile.visibility, split, FACTOR, out, arcs, masks)
