"""Which stored values are measurements, and the pixel that is taken off every edge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_files import write_image

from pipeline.imagery.raster import ImageFile
from pipeline.imagery.validity import erode, valid_mask


def kept(path: Path, values: list[float], dtype: str, **profile: object) -> list[bool]:
    raw = np.array([values], dtype=dtype)
    file = ImageFile(write_image(path / "image.tif", np.repeat(raw, 2, axis=0), **profile))
    return valid_mask(raw, file)[0].tolist()


def test_int16_specials_and_saturation_are_out_and_negative_values_stay(tmp_path: Path) -> None:
    values = [-32768, -32760, -32752, -32751, -9999, -3, 0, 9, 32766, 32767]
    expected = [False] * 3 + [True] * 6 + [False]
    assert kept(tmp_path, values, "int16", scale=5e-5) == expected


def test_a_tag_of_no_data_is_obeyed(tmp_path: Path) -> None:
    assert kept(tmp_path, [0, 1, -1], "int16", nodata=0) == [False, True, True]
    assert kept(tmp_path, [7.5, 0.1], "float32", nodata=7.5) == [False, True]
    # The digits of a double in the tag of a file of singles.
    assert kept(tmp_path, [0.1, 0.2], "float32", nodata=float(np.float32(0.1))) == [False, True]
    assert kept(tmp_path, [np.nan, 0.2], "float32", nodata=np.nan) == [False, True]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_without_a_tag(tmp_path: Path, dtype: str) -> None:
    out = [np.nan, np.inf, -np.inf, -3.4028227e38, -3.4028235e38, 3.4e38, 1.1e30, -32768, -9999]
    stay = [-0.01, 0.0, 0.5, -32767.5, 1e6]
    assert kept(tmp_path, out + stay, dtype) == [False] * len(out) + [True] * len(stay)


@pytest.mark.parametrize("dtype, top", [("uint8", 255), ("uint16", 65535)])
def test_unsigned_zero_is_out_only_where_the_file_tells_nothing(tmp_path: Path, dtype: str, top: int) -> None:
    values = [0, 1, 200, top]
    assert kept(tmp_path, values, dtype) == [False, True, True, False]
    assert kept(tmp_path, values, dtype, nodata=1) == [True, False, True, False]
    alpha = np.full((2, 4), top, dtype=dtype)
    # An alpha band that lets everything through says nothing.
    assert kept(tmp_path, values, dtype, alpha=alpha) == [False, True, True, False]
    alpha[0, 0] = 0
    assert kept(tmp_path, values, dtype, alpha=alpha) == [True, True, True, False]


def test_alpha_must_be_full(tmp_path: Path) -> None:
    data, alpha = np.full((6, 6), 9, dtype=np.uint8), np.full((6, 6), 255, dtype=np.uint8)
    alpha[5, 5], alpha[0, 0] = 254, 0
    _, valid = ImageFile(write_image(tmp_path / "a.tif", data, alpha=alpha)).read(0, 6, 0, 6)
    expected = np.zeros((6, 6), dtype=bool)
    expected[1:5, 1:5] = True
    expected[1, 1] = expected[4, 4] = False
    assert np.array_equal(valid, expected)


def test_erosion_takes_one_pixel_off_holes_and_borders() -> None:
    rng = np.random.default_rng(0)
    valid = rng.uniform(size=(40, 30)) > 0.05
    wide = np.pad(valid, 1)
    expected = np.ones_like(valid)
    for dr in range(3):
        for dc in range(3):
            expected &= wide[dr : dr + 40, dc : dc + 30]
    assert np.array_equal(erode(valid), expected)
    assert not erode(np.ones((2, 9), dtype=bool)).any()


def test_a_window_is_eroded_like_the_whole(tmp_path: Path) -> None:
    data = np.random.default_rng(0).uniform(0.01, 1, (50, 40)).astype(np.float32)
    data[np.random.default_rng(1).uniform(size=data.shape) < 0.03] = -3.4028227e38
    file = ImageFile(write_image(tmp_path / "a.tif", data, scale=2.0, offset=0.5))
    values, valid = file.read(0, 50, 0, 40)
    assert np.array_equal(values[valid], data[valid].astype(np.float64) * 2.0 + 0.5)
    assert not values[~valid].any()
    for r0, r1, c0, c1 in [(0, 10, 0, 10), (7, 20, 5, 33), (49, 50, 39, 40), (20, 50, 0, 40)]:
        part, mask = file.read(r0, r1, c0, c1)
        assert np.array_equal(part, values[r0:r1, c0:c1])
        assert np.array_equal(mask, valid[r0:r1, c0:c1])
