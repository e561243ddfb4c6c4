"""Shards and manifests: what is written is what is read, and damage is named."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from shard_files import FACTOR, HALO, PIXEL_M, SIDE, SIZE, write_draws, write_split, write_tile

import pipeline.shards
from pipeline.config.stages.shards import ManifestStage
from pipeline.shards.manifest import verify_shards, write_manifest
from pipeline.shards.reader import Shard
from pipeline.shards.shard_set import ShardSet
from pipeline.shards.write import write_shard
from pipeline.storage.store import StoreError, StoreWriter


@pytest.fixture
def manifest(tmp_path: Path, small_manifest: Path) -> Path:
    """A copy of the small manifest and its shards, to be spoilt."""
    shutil.copytree(small_manifest.parent / "shards", tmp_path / "shards")
    return Path(shutil.copy(small_manifest, tmp_path))


def write_one(folder: Path, split: str = "test", **options: object) -> tuple[Shard, object]:
    """A shard of the tile's patches 1, 3 and 4, with draws; patches 0, 2 and 5 go elsewhere."""
    tile = write_tile(folder, **options)
    labels = {int(i): split if n in (1, 3, 4) else "dropped" for n, i in enumerate(tile.ids)}
    arcs, masks = write_draws(folder, [int(tile.ids[n]) for n in (1, 3, 4)])
    path = folder / "shard.zarr.zip"
    splits = write_split(folder, labels)
    write_shard(split, tile.patches, tile.visibility, splits, FACTOR, path, arcs, masks)
    return Shard(path), tile


def test_a_shard_holds_its_split_alone(tmp_path: Path) -> None:
    shard, tile = write_one(tmp_path)
    assert shard.ids.tolist() == tile.ids[[1, 3, 4]].tolist()
    for row, patch in enumerate((1, 3, 4)):
        np.testing.assert_array_equal(shard.dem(row), tile.dem[patch])
    assert (shard.attrs["split"], shard.attrs["factor"], shard.attrs["halo_px"]) == ("test", FACTOR, HALO)


def test_mapped_reads_equal_reads_through_zarr(tmp_path: Path) -> None:
    shard, tile = write_one(tmp_path)
    fixed, fibonacci = (pipeline.shards.open(shard.path, g) for g in ("fixed", "fibonacci"))
    root = pipeline.shards.open(shard.path)
    images = np.array([359, 7, 7, 0])
    for row, patch in enumerate((1, 3, 4)):
        np.testing.assert_array_equal(shard.dem(row), root["dem"][row].values)
        np.testing.assert_array_equal(shard.packed("fixed", row), fixed["lit"][row].values)
        np.testing.assert_array_equal(shard.packed("fibonacci", row), fibonacci["lit"][row].values)
        seen = shard.visible("fixed", row, images)
        np.testing.assert_array_equal(seen, tile.lit[patch, images] * np.uint8(255))
        suns, present = shard.fibonacci_suns(row)
        np.testing.assert_array_equal(suns, fibonacci["sun"][row].values)
        np.testing.assert_array_equal(present, fibonacci["present"][row].values)
    np.testing.assert_array_equal(shard.fixed_suns, fixed["sun"].values)


def test_rendered_sets_are_mapped_from_the_file(tmp_path: Path) -> None:
    """Shards of the splits that train carry them; other shards say that they hold none."""
    tile = write_tile(tmp_path)
    rng, ids = np.random.default_rng(0), tile.ids[::-1].copy()
    sets = {
        "sun": (rng.random((6, 4, 3)).astype("f4"), "vector"),
        "shift": (rng.random((6, 4, 2)).astype("f4"), "axis"),
        "set": (np.tile(np.array([0, 0, 1, 1], "u1"), (6, 1)),),
        "relief": (np.tile(np.array([1, 1, 0.5, 0.5], "f4"), (6, 1)),),
    }
    radiance = rng.random((6, 4, SIZE, SIZE)).astype("f2")
    scenes = tmp_path / "scenes.zarr.zip"
    attrs = {"pixel_m": PIXEL_M, "size_px": SIZE, "sets": 2, "mesh": 4}
    with StoreWriter(scenes, "scenes", attrs) as writer:
        writer.write("id", ids, ("patch",))
        writer.write("radiance", radiance, ("patch", "image", "y", "x"), chunks=(1, 4, SIZE, SIZE))
        writer.write("expected", np.packbits(radiance > 0.5, axis=-1), ("patch", "image", "y", "xbyte"))
        for name, (values, *axis) in sets.items():
            writer.write(name, values, ("patch", "image", *axis))
    labels = {int(i): "train" if n in (1, 4) else "test" for n, i in enumerate(tile.ids)}
    split, path = write_split(tmp_path, labels), tmp_path / "shard.zarr.zip"
    write_shard("train", tile.patches, tile.visibility, split, FACTOR, path, scenes_store=scenes)
    shard = Shard(path)
    for row, patch in enumerate((1, 4)):
        there = ids.tolist().index(tile.ids[patch])
        np.testing.assert_array_equal(shard.scene_images(row), radiance[there])
        np.testing.assert_array_equal(shard.scene_images(row, np.array([3, 0])), radiance[there, [3, 0]])
        np.testing.assert_array_equal(shard.scene_expected(row, [0, 2]), radiance[there, [0, 2]] > 0.5)
        np.testing.assert_array_equal(shard.scene_reliefs[row], sets["relief"][0][there])
        np.testing.assert_array_equal(shard.scene_suns[row], sets["sun"][0][there])
        np.testing.assert_array_equal(shard.scene_shifts[row], sets["shift"][0][there])
    assert shard.scene_sets.tolist() == [[0, 0, 1, 1]] * 2
    assert np.shares_memory(shard.scene_images(0, slice(1, 2)), shard._bytes)

    write_shard("train", tile.patches, tile.visibility, split, FACTOR, path)
    with pytest.raises(StoreError, match="expected a group 'scenes', found none"):
        Shard(path).scene_images(0)
    with StoreWriter(scenes, "scenes", attrs) as writer:
        writer.write("id", ids[:3], ("patch",))
        writer.write("radiance", radiance[:3], ("patch", "image", "y", "x"))
        writer.write("expected", np.packbits(radiance[:3] > 0.5, axis=-1), ("patch", "image", "y", "xbyte"))
        for name, (values, *axis) in sets.items():
            writer.write(name, values[:3], ("patch", "image", *axis))
    with pytest.raises(ValueError, match=f"scenes.zarr.zip: expected image sets of patch {tile.ids[1]}"):
        write_shard("train", tile.patches, tile.visibility, split, FACTOR, path, scenes_store=scenes)


def test_the_suns_disc_is_read_as_shares(tmp_path: Path) -> None:
    shard, tile = write_one(tmp_path, sun="disc", dark=4)
    seen = shard.visible("fixed", 0, np.array([9, 4]))
    np.testing.assert_array_equal(seen, tile.lit[1, [9, 4]] * np.uint8(200))
    assert shard.lit_any("fixed", 0).tolist() == [False] * 4 + [True] * 356


def test_lit_any_finds_dark_images(tmp_path: Path) -> None:
    shard, _ = write_one(tmp_path, dark=3)
    assert shard.lit_any("fixed", 1).tolist() == [False] * 3 + [True] * 357


def test_draws_come_back_as_they_were_given(tmp_path: Path) -> None:
    shard, _ = write_one(tmp_path)
    draws = shard.draws("main")
    arcs = json.loads((tmp_path / "arcs.json").read_text())["draws"]["main"]
    masks = json.loads((tmp_path / "masks.json").read_text())["draws"]["main"]
    for row, patch in enumerate(shard.ids):
        wanted = arcs[str(patch)]
        images = draws["images"][row]
        assert images[images >= 0].tolist() == wanted["images"]
        assert (draws["lon"][row], draws["lat"][row]) == (wanted["lon"], wanted["lat"])
        strips = draws["strips"][row][: len(wanted["images"])]
        np.testing.assert_array_equal(strips, masks[str(patch)]["strips"])
    assert (draws["images"][1] >= 0).sum() == 4  # the smaller set is padded with -1


def test_a_draw_that_is_absent_is_named(tmp_path: Path) -> None:
    tile = write_tile(tmp_path)
    split = write_split(tmp_path, {int(i): "test" for i in tile.ids})
    arcs, masks = write_draws(tmp_path, [int(i) for i in tile.ids[:-1]])
    out = tmp_path / "shard.zarr.zip"
    with pytest.raises(ValueError, match=r"arcs\.json: main: expected a draw for test patch 5, found none"):
        write_shard("test", tile.patches, tile.visibility, split, FACTOR, out, arcs, masks)
    assert not out.exists()
    with pytest.raises(StoreError, match="expected a group 'draws_other', found none"):
        write_one(tmp_path)[0].draws("other")


def test_a_patch_without_light_is_named(tmp_path: Path) -> None:
    light = write_tile(tmp_path, count=2).visibility.rename(tmp_path / "light.zarr.zip")
    tile = write_tile(tmp_path, count=3)
    split = write_split(tmp_path, {int(i): "train" for i in tile.ids})
    with pytest.raises(ValueError, match=r"light\.zarr\.zip: expected visibility of patch 2, found none"):
        write_shard("train", tile.patches, light, split, FACTOR, tmp_path / "shard.zarr.zip")


def test_visibility_of_more_patches_in_another_order_is_no_trouble(tmp_path: Path) -> None:
    tile = write_tile(tmp_path)
    split = write_split(tmp_path, {4: "train", 2: "train"})
    write_shard("train", tile.patches, tile.visibility, split, FACTOR, tmp_path / "shard.zarr.zip")
    shard = Shard(tmp_path / "shard.zarr.zip")
    np.testing.assert_array_equal(shard.visible("fixed", 1, np.array([8]))[0] > 0, tile.lit[4, 8])


def test_an_empty_tile_gives_an_empty_shard(tmp_path: Path) -> None:
    tile = write_tile(tmp_path, count=0)
    split = write_split(tmp_path, {})
    arcs, masks = write_draws(tmp_path, [])
    write_shard("test", tile.patches, tile.visibility, split, FACTOR, tmp_path / "s.zarr.zip", arcs, masks)
    shard = Shard(tmp_path / "s.zarr.zip")
    assert len(shard) == 0
    assert shard.draws("main")["images"].shape == (0, 0)
    with pytest.raises(ValueError, match="split test: expected at least one patch in its shards, found none"):
        write_manifest(
            {"test": [str(shard.path)]}, ManifestStage(statistics_patches=2000), tmp_path / "manifest.json"
        )


def test_equal_inputs_give_equal_shards(tmp_path: Path) -> None:
    first, _ = write_one(tmp_path / "a")
    second, _ = write_one(tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_shard_can_be_pickled_for_other_processes(tmp_path: Path) -> None:
    shard, _ = write_one(tmp_path)
    again = pickle.loads(pickle.dumps(shard))
    np.testing.assert_array_equal(again.dem(2), shard.dem(2))


def test_a_manifest_lists_shards_relative_to_itself(tmp_path: Path, manifest: Path) -> None:
    content = json.loads(manifest.read_text())
    assert [e["path"] for e in content["shards"]][:2] == [
        "shards/train_000.zarr.zip",
        "shards/train_001.zarr.zip",
    ]
    assert content["patches"] == {"train": 10, "validation": 2}
    assert content["grid"] == {"pixel_m": PIXEL_M, "size_px": SIZE, "halo_px": HALO, "factor": FACTOR}
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("shards", "manifest.json"):
        (tmp_path / name).rename(moved / name)
    assert len(ShardSet(moved / "manifest.json", "train")) == 10


def test_statistics_are_those_of_the_training_patches(small_manifest: Path) -> None:
    content = json.loads(small_manifest.read_text())["statistics"]
    shards = ShardSet(small_manifest, "train")
    relief, detail = [], []
    for index in range(len(shards)):
        shard, patch = shards.at(index)
        dem = shard.dem(patch)[HALO:-HALO, HALO:-HALO].astype("f8") / PIXEL_M
        relief.append(dem.var())
        blocks = [
            dem[i : i + FACTOR, j : j + FACTOR].var()
            for i in range(0, SIZE, FACTOR)
            for j in range(0, SIZE, FACTOR)
        ]
        detail.append(np.mean(blocks))
    assert content["relief_px"] == pytest.approx(np.sqrt(np.mean(relief)), rel=1e-12)
    assert content["residual_px"] == pytest.approx(np.sqrt(np.mean(detail)), rel=1e-12)


@pytest.mark.parametrize(("most", "used"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (99, 5)])
def test_statistics_take_at_most_the_given_number_a_shard(
    tmp_path: Path, small_manifest: Path, most: int, used: int
) -> None:
    shards = {"train": [str(small_manifest.parent / "shards" / "train_000.zarr.zip")]}
    write_manifest(shards, ManifestStage(statistics_patches=most), tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["statistics"]["patches"] == used


def test_a_shard_of_another_split_is_refused(tmp_path: Path, small_manifest: Path) -> None:
    shards = {"train": [str(small_manifest.parent / "shards" / "validation_000.zarr.zip")]}
    with pytest.raises(StoreError, match=r"expected a shard of split 'train', found 'validation'"):
        write_manifest(shards, ManifestStage(statistics_patches=2000), tmp_path / "m.json")


@pytest.mark.parametrize("damage", ["flipped", "truncated", "absent"])
def test_a_damaged_shard_is_named_with_the_command_that_mends_it(
    tmp_path: Path, manifest: Path, damage: str
) -> None:
    verify_shards(manifest)
    path = tmp_path / "shards" / "train_001.zarr.zip"
    content = bytearray(path.read_bytes())
    if damage == "absent":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flipped" else content[:-1])
    for check in (lambda: verify_shards(manifest), lambda: ShardSet(manifest, "train")):
        with pytest.raises(StoreError) as caught:
            check()
        assert str(caught.value).startswith(f"{path}: expected a shard with sha256 ")
        assert "rebuild only it: `rm -f " in str(caught.value)
        assert "\n" not in str(caught.value)
    assert len(ShardSet(manifest, "validation")) == 2  # other splits are not concerned


def test_a_set_counts_patches_across_shards(small_manifest: Path) -> None:
    shards = ShardSet(small_manifest, "train")
    ids = [int(shard.ids[patch]) for shard, patch in map(shards.at, range(len(shards)))]
    assert ids == [1, 2, 3, 4, 5, 101, 102, 103, 104, 105]


def test_a_compressed_entry_is_refused_by_mapped_reads(tmp_path: Path) -> None:
    tile = write_tile(tmp_path, count=1)  # its DEM is compressed inside a stored entry
    shard = Shard.__new__(Shard)
    shard.path, shard.root = tile.patches, pipeline.shards.open(tile.patches)
    with pytest.raises(StoreError, match=rf"dem/0\.0\.0: expected {4 * SIDE**2} bytes, found"):
        shard.dem(0)
