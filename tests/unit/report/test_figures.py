"""Figures of the report: reduction, painting, counting, and PNGs that repeat byte for byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from raster_files import write_tif
from report_run import heights

from pipeline.config.stages.terrain import TerrainStage
from pipeline.illumination.directions import vectors
from pipeline.report.figures.images import distinct_suns, draw_contact_sheet
from pipeline.report.figures.patches import PatchExample, scale_ends
from pipeline.report.figures.scores import draw_ranks
from pipeline.report.figures.sky import multiplicity
from pipeline.report.figures.terrain import ROLES, panel_px, read_reduced, site_map
from pipeline.report.figures.training import losses, running_mean
from pipeline.terrain.blocks import block_mean
from pipeline.terrain.index import index_terrain, load_terrain


def chunks(png: bytes) -> list[str]:
    """Names of a PNG's chunks."""
    names, at = [], 8
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        names.append(name.decode())
        at += 12 + length
    return names


def test_block_means_keep_the_mean() -> None:
    dem = np.arange(36.0).reshape(6, 6)
    np.testing.assert_allclose(block_mean(dem, 3), [[7.0, 10.0], [25.0, 28.0]])


def test_suns_are_counted_with_their_repeats() -> None:
    suns = vectors([90.0, 10.0, 90.0, 350.0], [5.0, 5.0, 5.0, 10.0])
    distinct, count = multiplicity(suns)
    assert len(distinct) == 3 and sorted(count) == [1, 1, 2]
    first, repeats = distinct_suns(suns, 24)
    assert first.tolist() == [1, 0, 3] and repeats.tolist() == [1, 2, 1]
    assert len(distinct_suns(suns, 2)[0]) == 2


def test_running_mean_is_the_mean_of_the_last_values() -> None:
    values = np.array([4.0, 2.0, 6.0, 0.0])
    np.testing.assert_allclose(running_mean(values, 2), [4.0, 3.0, 4.0, 3.0])


def test_a_total_with_one_part_is_shown_once() -> None:
    same = [{"samples": 8, "learning_rate": 1.0, "loss": 2.0, "bridge": 2.0}]
    assert losses(same) == ["bridge"]
    assert losses([{**same[0], "mean": 1.0}]) == ["bridge", "loss", "mean"]


@pytest.fixture(scope="module")
def terrain_index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("terrain")
    dem = heights(90, 130, seed=3)
    dem[:12, :12] = np.nan
    path = write_tif(folder / "dem.tif", dem, nodata=np.nan)
    index_terrain([path], None, TerrainStage(pixel_m=20.0), folder / "terrain.json")
    return folder / "terrain.json", dem


def test_a_site_is_reduced_by_means(terrain_index: tuple[Path, np.ndarray]) -> None:
    index, dem = terrain_index
    terrain = load_terrain(index)
    reduced, step = read_reduced(terrain, 0, 44)
    terrain.close()
    assert step == 3 and reduced.shape == (30, 43)
    blocks = dem[:, :129].reshape(30, 3, 43, 3).swapaxes(1, 2).reshape(30, 43, 9)
    assert np.isnan(reduced[:4, :4]).all() and np.isfinite(reduced).sum() == 30 * 43 - 16
    np.testing.assert_allclose(reduced[4:], blocks[4:].mean(axis=-1, dtype=float), rtol=1e-6)


def test_memory_of_a_reduction_is_a_few_rows(
    terrain_index: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    terrain = load_terrain(terrain_index[0])
    read, rows = terrain.read, []

    def counted(site: int, row0: int, row1: int, col0: int, col1: int) -> np.ndarray:
        rows.append(row1 - row0)
        return read(site, row0, row1, col0, col1)

    monkeypatch.setattr(terrain, "read", counted)
    reduced, step = read_reduced(terrain, 0, 6)
    assert step == 22 and reduced.shape == (4, 5) and max(rows) == 8


def test_patches_are_painted_where_they_lie(terrain_index: tuple[Path, np.ndarray]) -> None:
    terrain = load_terrain(terrain_index[0])
    # The training patch overlaps the test patch, which is drawn on top.
    rows, cols = np.array([20, 24]), np.array([40, 44])
    painted = site_map(terrain, 0, rows, cols, ["test", "train"], 8, 130).roles
    names = [None, *ROLES]
    assert names[painted[20, 40]] == names[painted[26, 46]] == "test"
    assert names[painted[30, 50]] == "train" and painted[10, 60] == 0
    terrain.close()
    assert panel_px(1) > panel_px(2) > panel_px(9)


def test_colour_scales_leave_out_the_extremes() -> None:
    zero = np.zeros((20, 20))
    wild = zero.copy()
    wild[0, 0] = 1e6
    example = PatchExample("a", zero, zero, zero + 2.0 + wild, zero, zero + 0.5, 20.0, 4)
    assert scale_ends([example]) == (2.0, 0.5)
    assert example.rmse_m(zero + 3.0) == 3.0


def test_pictures_repeat_and_hold_nothing_but_pixels() -> None:
    rng = np.random.default_rng(0)
    images, valid = rng.random((3, 16, 16)), rng.random((3, 16, 16)) > 0.2
    valid[1] = False
    suns = vectors([0.0, 120.0, 240.0], 10.0)
    for draw in (
        lambda: draw_contact_sheet(images, valid, suns, np.array([1, 2, 1]), 20.0),
        lambda: draw_ranks([5, 1, 1, 5], "ranks"),
    ):
        png = draw()
        assert png == draw()
        assert set(chunks(png)) == {"IHDR", "IDAT", "IEND"}
