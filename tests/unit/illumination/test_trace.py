"""The stages: visibility of a tile, image sets and masks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from patch_files import HALO, PIXEL, SIZE, make_patches
from shard_files import make_selected

from pipeline.config.arcs import ArcDraw, ArcsSection
from pipeline.config.base import Range
from pipeline.config.illumination import IlluminationSection
from pipeline.config.masks import StripDraw
from pipeline.config.stages.light import MasksStage
from pipeline.illumination.arcs import select_arcs
from pipeline.illumination.directions import NoUsableDirectionError, fixed_directions, near_suns, sun_arc
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.masks import draw_masks
from pipeline.illumination.trace import make_engine, trace_tile
from pipeline.storage.store import StoreWriter, open_store

LIGHT = IlluminationSection(fibonacci=7, halo_px=4, jitter_deg=10)


@pytest.fixture
def tile(tmp_path):
    """Five patches, of which the fourth is not kept."""
    ids = [40, 7, 1 << 40, 12, 3]
    dem = make_patches(tmp_path / "patches.zarr.zip", ids)
    selected = make_selected(tmp_path / "selected.json", {i: i != 12 for i in ids})
    return tmp_path, dem, selected


def trace(tile, light: IlluminationSection = LIGHT, name: str = "light", workers: int = 1) -> Path:
    folder, _, selected = tile
    out = folder / f"{name}.zarr.zip"
    trace_tile(folder / "patches.zarr.zip", selected, SIZE, light, out, workers)
    return out


def test_store_holds_what_the_engine_sees(tile):
    out = trace(tile)
    root, fixed, fibonacci = (open_store(out, group, "visibility") for group in ("", "fixed", "fibonacci"))
    assert root["id"].values.tolist() == [40, 7, 1 << 40, 3]
    assert root.attrs["engine"] == "embree" and root.attrs["sun"] == "point" and root.attrs["halo_px"] == 4
    np.testing.assert_allclose(fixed["sun"], fixed_directions(), atol=1e-7)
    assert fixed["lit"].dims == ("patch", "direction", "y", "xbyte")
    assert fixed["lit"].shape == (4, 360, SIZE, 3) and fixed["lit"].dtype == np.uint8
    dem = tile[1][2][2:-2, 2:-2]  # the halo of 6 px cropped to 4
    engine = EmbreeVisibility(dem, PIXEL, (4, 4, SIZE, SIZE))
    lit = np.unpackbits(fixed["lit"].values[2], axis=-1, count=SIZE).astype(bool)
    np.testing.assert_array_equal(lit, engine.lit(fixed["sun"].values))
    assert 0.1 < lit.mean() < 0.99
    sun, present = fibonacci["sun"].values, fibonacci["present"].values
    assert sun.shape == (4, 7, 3) and np.isfinite(sun).all()
    lit = np.unpackbits(fibonacci["lit"].values, axis=-1, count=SIZE).astype(bool)
    np.testing.assert_array_equal(lit[2][present[2]], engine.lit(sun[2][present[2]]))
    np.testing.assert_array_equal(present, sun[..., 2] >= 0)
    assert not lit[~present].any()
    assert not np.array_equal(sun[0], sun[1])


def test_result_does_not_depend_on_workers_or_company(tile, tmp_path):
    one, three = trace(tile), trace(tile, name="three", workers=3)
    assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(three.read_bytes()).digest()
    # The same patch traced in another tile has the same light.
    other = tmp_path / "other"
    other.mkdir()
    make_patches(other / "patches.zarr.zip", [99, 7])
    out = trace((other, None, make_selected(other / "selected.json", {99: True, 7: True})))
    for group in ("fixed", "fibonacci"):
        a, b = open_store(one, group), open_store(out, group)
        np.testing.assert_array_equal(a["lit"][1], b["lit"][1])
    np.testing.assert_array_equal(a["sun"][1], b["sun"][1])


def test_seed_changes_the_jitter_alone(tile):
    first, second = trace(tile), trace(tile, LIGHT.model_copy(update={"seed": 1}), "second")
    assert not np.array_equal(open_store(first, "fibonacci")["sun"], open_store(second, "fibonacci")["sun"])
    np.testing.assert_array_equal(open_store(first, "fixed")["lit"], open_store(second, "fixed")["lit"])


def test_disc_stores_shares(tile):
    tile = (*tile[:2], make_selected(tile[0] / "one.json", {7: True}))
    out = trace(tile, LIGHT.model_copy(update={"sun": "disc", "disc_deg": 4.0}), "disc")
    fixed = open_store(out, "fixed", "visibility")
    share = fixed["share"].values
    assert share.shape == (1, 360, SIZE, SIZE) and share.dtype == np.uint8
    partial = (share > 0) & (share < 255)
    assert 0.01 < partial.mean() < 0.3
    lit = np.unpackbits(open_store(trace(tile), "fixed")["lit"].values, axis=-1, count=SIZE)
    assert ((share > 127) == lit.astype(bool)).mean() > 0.97


def test_tile_without_kept_patches_gives_an_empty_store(tmp_path):
    for ids in ([], [5, 6]):
        make_patches(tmp_path / "patches.zarr.zip", ids)
        selected = make_selected(tmp_path / "selected.json", dict.fromkeys(ids, False))
        out = trace((tmp_path, None, selected), workers=2)
        assert open_store(out, schema="visibility")["id"].shape == (0,)
        assert open_store(out, "fixed")["lit"].shape == (0, 360, SIZE, 3)
        assert open_store(out, "fibonacci")["sun"].shape == (0, 7, 3)


def test_wrong_inputs_are_named(tile):
    with pytest.raises(
        ValueError, match=r"patches\.zarr\.zip: holds a halo of 6 px, but illumination\.halo_px = 7"
    ):
        trace(tile, LIGHT.model_copy(update={"halo_px": 7}))
    folder, _, selected = tile
    with pytest.raises(ValueError, match="expected patches of 96 px, found 20"):
        trace_tile(folder / "patches.zarr.zip", selected, 96, LIGHT, folder / "x.zarr.zip")
    stray = make_selected(folder / "stray.json", {40: True, 41: True})
    with pytest.raises(ValueError, match=r"stray\.json: keeps patch 41"):
        trace((folder, None, stray))
    assert not (folder / "light.zarr.zip").exists()
    with pytest.raises(ValueError, match=r"illumination\.engine: .* found 'mirror'"):
        make_engine("mirror")


def masks(seed: int) -> MasksStage:
    """Published strips."""
    return MasksStage(test=StripDraw(), seed=seed, size_px=SIZE)


ARCS = ArcsSection(
    test={
        "main": ArcDraw(latitude=Range(low=60, high=85), images=Range(low=9, high=9)),
        "few": ArcDraw(latitude=Range(low=60, high=85), images=Range(low=2, high=4)),
    },
    seed=4,
)


@pytest.fixture
def drawn(tile):
    folder, _, selected = tile
    light = trace(tile)
    labels = {"40": "train", "7": "test", str(1 << 40): "validation", "12": "test", "3": "test", "8": "test"}
    split = folder / "split.json"
    split.write_text(json.dumps({"schema": "split/1", "method": "block", "patches": labels, "counts": {}}))
    out = folder / "arcs.json"
    select_arcs(selected, split, light, ARCS, out)
    return folder, selected, split, light, out


def test_arcs_cover_validation_and_test_patches(drawn):
    _, _, _, light, out = drawn
    table = json.loads(out.read_text())
    assert table["schema"] == "arcs/1" and set(table["draws"]) == {"main", "few"}
    rows = {i: n for n, i in enumerate(open_store(light)["id"].values.tolist())}
    lit = open_store(light, "fixed")["lit"].values.any(axis=(2, 3))
    for name, sizes in (("main", {9}), ("few", {2, 3, 4})):
        patches = table["draws"][name]
        assert set(patches) == {"7", str(1 << 40), "3"}
        for patch_id, entry in patches.items():
            assert 0 <= entry["lon"] <= 360 and 60 <= entry["lat"] <= 85
            assert len(entry["images"]) in sizes
            usable = near_suns(sun_arc(entry["lon"], entry["lat"]), 0.1, fixed_directions())
            assert set(entry["images"]) <= set(usable.tolist())
            assert lit[rows[int(patch_id)], entry["images"]].all()


def test_a_draw_depends_on_seed_name_and_patch_alone(drawn):
    folder, _, split, light, out = drawn
    few = ARCS.model_copy(update={"test": {"few": ARCS.test["few"]}})
    lone = make_selected(folder / "lone.json", {3: True})
    select_arcs(lone, split, light, few, folder / "again.json")
    before, after = (json.loads(p.read_text())["draws"]["few"] for p in (out, folder / "again.json"))
    assert after == {"3": before["3"]}
    select_arcs(lone, split, light, few.model_copy(update={"seed": 5}), folder / "again.json")
    assert json.loads((folder / "again.json").read_text())["draws"]["few"]["3"] != before["3"]


def test_dark_images_are_never_drawn(tmp_path):
    """A patch in a pit so deep that only Suns above 60 degrees reach its floor."""
    row = np.hypot(*(np.mgrid[: SIZE + 2 * HALO, : SIZE + 2 * HALO] - (SIZE / 2 + HALO - 0.5)))
    make_patches(tmp_path / "patches.zarr.zip", [1])
    dem = np.where(row < 15, 0.0, 3000.0).astype(np.float32)[None]
    engine = EmbreeVisibility(dem[0], PIXEL, (HALO, HALO, SIZE, SIZE))
    assert engine.lit(fixed_directions()).any(axis=(1, 2)).sum() < 80
    attrs = {"size_px": SIZE, "sun": "point", "engine": "embree", "halo_px": HALO}
    light = tmp_path / "light.zarr.zip"
    with StoreWriter(light, "visibility", attrs) as writer:
        writer.write("id", np.array([1], np.int64), ("patch",))
        writer.write("fixed/sun", fixed_directions().astype(np.float32), ("direction", "vector"))
        packed = np.packbits(engine.lit(fixed_directions()), axis=-1)[None]
        writer.write("fixed/lit", packed, ("patch", "direction", "y", "xbyte"))
        writer.write("fibonacci/sun", np.zeros((1, 2, 3), np.float32), ("patch", "direction", "vector"))
        writer.write("fibonacci/present", np.zeros((1, 2), bool), ("patch", "direction"))
    selected = make_selected(tmp_path / "selected.json", {1: True})
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"schema": "split/1", "patches": {"1": "test"}}))
    select_arcs(selected, split, light, ArcsSection(), tmp_path / "arcs.json")
    entry = json.loads((tmp_path / "arcs.json").read_text())["draws"]["main"]["1"]
    assert engine.lit(fixed_directions()[entry["images"]]).any(axis=(1, 2)).all()
    assert entry["lat"] < 45
    polar = ArcsSection(test={"polar": ArcDraw(latitude=Range(low=85, high=90))})
    with pytest.raises(
        NoUsableDirectionError, match=r"light\.zarr\.zip: arcs\.test\.polar: patch 1: no usable"
    ):
        select_arcs(selected, split, light, polar, tmp_path / "arcs.json")


def test_masks_match_the_image_sets(drawn):
    folder, *_, arcs = drawn
    out = folder / "masks.json"
    draw_masks(arcs, masks(1), out)
    first = out.read_bytes()
    table, sets = json.loads(first), json.loads(arcs.read_text())["draws"]
    assert table["schema"] == "masks/1" and set(table["draws"]) == set(sets)
    for name, patches in sets.items():
        for patch_id, entry in patches.items():
            strips = np.array(table["draws"][name][patch_id]["strips"])
            assert strips.shape == (len(entry["images"]), 4)
            assert (strips[:, 3] >= 25).all() and (strips[:, 3] <= 50).all()
    main, few = (table["draws"][name]["3"]["strips"] for name in ("main", "few"))
    assert main[0] != few[0] and main[0] != table["draws"]["main"]["7"]["strips"][0]
    draw_masks(arcs, masks(1), out)
    assert out.read_bytes() == first
    draw_masks(arcs, masks(2), out)
    assert out.read_bytes() != first


def test_swaths_follow_each_patchs_own_place(drawn):
    folder, *_, arcs = drawn
    out, patches = folder / "masks.json", folder / "patches.zarr.zip"
    strips = {"kind": "nac", "inclination_deg": 90, "azimuth_jitter_deg": 0}
    polar = MasksStage.model_validate({"test": strips, "seed": 0, "size_px": SIZE})
    placed = {7: (-3e4, 0.0), 1 << 40: (2e4, 2e4), 3: (0.0, 5e4)}  # map metres: swaths point to the pole
    make_patches(patches, list(placed), place=placed)
    draw_masks(arcs, polar, out, patches)
    table = json.loads(out.read_text())["draws"]["main"]
    for patch_id, (x, y) in placed.items():
        rows = np.array(table[str(patch_id)]["strips"])
        assert rows.shape == (9, 14)
        azimuth = np.degrees(np.arctan2(x, y))
        np.testing.assert_allclose((rows[:, 2] + 90 - azimuth + 90) % 180, 90, atol=1e-6)
        assert (2500 / 40 <= rows[:, 3]).all() and (rows[:, 3] <= 5000 / 40).all()
    first = out.read_bytes()
    draw_masks(arcs, polar, out, patches)
    assert out.read_bytes() == first
    with pytest.raises(ValueError, match=r"masks\.test\.kind: 'nac' needs the patch store"):
        draw_masks(arcs, polar, out)
    make_patches(patches, [7])
    with pytest.raises(
        ValueError, match=r"patches\.zarr\.zip: expected patch \d+ of .*arcs\.json, found none"
    ):
        draw_masks(arcs, polar, out, patches)


def test_stages_of_an_empty_tile(tmp_path):
    make_patches(tmp_path / "patches.zarr.zip", [])
    selected = make_selected(tmp_path / "selected.json", {})
    light = trace((tmp_path, None, selected))
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"schema": "split/1", "patches": {"5": "test"}}))
    select_arcs(selected, split, light, ARCS, tmp_path / "arcs.json")
    draw_masks(tmp_path / "arcs.json", masks(0), tmp_path / "masks.json")
    assert json.loads((tmp_path / "masks.json").read_text())["draws"] == {"main": {}, "few": {}}
