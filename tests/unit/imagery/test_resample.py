"""Area averages on a map: against exact means, brute force, and themselves in other windows."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from image_files import LOCAL, LONLAT, Waves, map_of, through, write_image
from raster_files import SOUTH

from pipeline.imagery import resample as module
from pipeline.imagery.raster import ImageFile
from pipeline.imagery.resample import MapTarget, resample, touches
from pipeline.terrain.grid import GridError
from pipeline.terrain.readers import open_raster


def whole(file: ImageFile, target: MapTarget, **more: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return resample(file, target, (0, target.height), (0, target.width), **more)


def turned(pixel: float, degrees: float, corner: tuple[float, float]) -> Affine:
    return Affine.translation(*corner) @ Affine.rotation(degrees) @ Affine.scale(pixel, -pixel)


@pytest.mark.parametrize("ratio, percent", [(1.0, 25.0), (1.3, 8.0), (2.0, 2.5), (3.1, 0.8), (8.0, 0.2)])
@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_means_of_waves(tmp_path: Path, ratio: float, percent: float, degrees: float) -> None:
    """Exact pixel means in, exact pixel means out; the shortest wave is 2 map pixels long."""
    target = map_of(40.0, 40, 40, (0.0, 1600.0))
    transform = turned(40.0 / ratio, degrees, (-907.3, 1813.1))
    waves, side = Waves(80.0), int(75 * ratio)
    file = ImageFile(write_image(tmp_path / "a.tif", waves.on(transform, side, side), SOUTH, transform))
    values, valid, _ = whole(file, target)
    exact = waves.on(target.transform, 40, 40)
    assert valid.mean() > 0.85
    error = np.sqrt(((values - exact)[valid] ** 2).mean() / (exact[valid] ** 2).mean())
    assert 100 * error < percent


@pytest.mark.parametrize("ratio", [1, 2, 5])
def test_whole_pixels_give_their_mean(tmp_path: Path, ratio: int) -> None:
    noise = np.random.default_rng(0).uniform(0.01, 1, (30 * ratio, 30 * ratio))
    file = ImageFile(
        write_image(tmp_path / "a.tif", noise, transform=Affine(40 / ratio, 0, 0, 0, -40 / ratio, 0))
    )
    values, valid, share = whole(file, map_of(40.0, 30, 30), min_valid=1.0)
    expected = noise.reshape(30, ratio, 30, ratio).mean(axis=(1, 3))
    inner = np.s_[1:-1, 1:-1]
    tolerance = {1: 1e-6, 2: 1e-6, 5: 0.01}[ratio]  # 5 pixels do not divide the points along a side evenly
    np.testing.assert_allclose(values[inner], expected[inner], atol=tolerance)
    assert valid[inner].all()
    assert (share[inner] == 1).all()
    assert not valid[0].any()


def test_brute_force_through_two_projections(tmp_path: Path) -> None:
    """Points 40 times finer than the map, taken one by one from the image through PROJ."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.2, 1.0, (300, 260))
    smooth = sum(np.roll(noise, (a, b), (0, 1)) for a in range(-2, 3) for b in range(-2, 3)) / 25
    smooth[rng.uniform(size=noise.shape) < 0.001] = -3.4028227e38
    file = ImageFile(write_image(tmp_path / "a.tif", smooth, LOCAL, Affine(17.0, 0, -2000, 0, -17.0, 2500)))
    x, y = through(LOCAL, SOUTH).transform(0, 0)
    target = map_of(40.0, 24, 20, (x - 400, y + 480))
    values, valid, share = whole(file, target)

    n = 40
    row, col = np.mgrid[0 : 24 * n, 0 : 20 * n]
    px, py = through(SOUTH, LOCAL).transform(x - 400 + (col + 0.5) * 40 / n, y + 480 - (row + 0.5) * 40 / n)
    source, mask = file.read(0, 300, 0, 260)
    at = (np.floor((2500 - py) / 17).astype(int), np.floor((px + 2000) / 17).astype(int))
    seen = mask[at].reshape(24, n, 20, n)
    total = (source[at] * mask[at]).reshape(24, n, 20, n).sum(axis=(1, 3))
    count = seen.sum(axis=(1, 3))
    expected = total / np.maximum(count, 1)

    assert np.abs(share - count / n**2).max() < 0.03
    full = (count == n**2) & valid
    assert full.sum() > 200
    # Flat pixels (brute force) and planes differ by what the slopes tell.
    assert np.sqrt(((values - expected)[full] ** 2).mean()) < 0.1 * expected[full].std()
    assert np.array_equal(valid, share >= np.float32(0.9))
    assert valid.any() and not valid.all()
    assert np.isnan(values[~valid]).all()


def test_constants_and_ramps_are_kept(tmp_path: Path) -> None:
    transform = turned(17.0, 12.0, (-300.0, 400.0))
    row, col = np.mgrid[0:140, 0:140] + 0.5
    x = transform.a * col + transform.b * row + transform.c
    y = transform.d * col + transform.e * row + transform.f
    target = map_of(40.0, 36, 30, (0.0, 200.0))
    xs, ys = 20 + 40 * np.arange(30.0), 180 - 40 * np.arange(36.0)
    flat = ImageFile(write_image(tmp_path / "flat.tif", np.full(x.shape, 0.0371), SOUTH, transform))
    values, valid, _ = whole(flat, target)
    np.testing.assert_allclose(values[valid], 0.0371, rtol=1e-6)
    ramp = ImageFile(write_image(tmp_path / "ramp.tif", (x + 2 * y) / 40, SOUTH, transform))
    values, _, share = whole(ramp, target)
    off = values - (xs[None] + 2 * ys[:, None]) / 40
    assert (share == 1).sum() > 500
    assert np.abs(off[share == 1]).max() < 1e-3


def test_windows_chunks_and_threads_agree_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = np.random.default_rng(0).integers(1, 900, (500, 450)).astype(np.int16)
    data[np.random.default_rng(1).uniform(size=data.shape) < 0.002] = 0
    path = write_image(
        tmp_path / "a.tif", data, LOCAL, turned(13.0, 33.0, (-3000, 1500)), scale=5e-5, nodata=0
    )
    x, y = through(LOCAL, SOUTH).transform(0, 0)
    target = map_of(40.0, 230, 210, (x - 4600, y + 4600))
    shift = (31.7, -12.3)
    reference = whole(ImageFile(path), target, shift_m=shift)
    assert 0.05 < reference[1].mean() < 0.95

    def check(window: tuple[int, int, int, int]) -> None:
        r0, r1, c0, c1 = window
        part = resample(ImageFile(path), target, (r0, r1), (c0, c1), shift)
        for a, b in zip(part, reference):
            assert a.tobytes() == np.ascontiguousarray(b[r0:r1, c0:c1]).tobytes()

    windows = [
        (0, 96, 0, 96),
        (67, 163, 81, 177),
        (64, 160, 48, 144),
        (100, 101, 99, 100),
        (229, 230, 0, 210),
    ]
    for window in windows:
        check(window)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, windows * 2))
    monkeypatch.setattr(module, "_CHUNK_PIXELS", 3000)
    check((0, 230, 0, 210))
    copy = pickle.loads(pickle.dumps(ImageFile(path)))
    assert whole(copy, target, shift_m=shift)[0].tobytes() == reference[0].tobytes()


def test_shift_moves_the_content_right_and_up(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(0.1, 1, (200, 200))
    file = ImageFile(write_image(tmp_path / "a.tif", noise, transform=Affine(20.0, 0, 0, 0, -20.0, 0)))
    target = map_of(40.0, 80, 80, (400.0, -400.0))
    still, moved = whole(file, target)[0], whole(file, target, shift_m=(120.0, 80.0))[0]
    np.testing.assert_allclose(moved[:-2, 3:], still[2:, :-3], rtol=1e-6)
    # A fraction of a pixel: the same as an image whose corner lies there.
    there = ImageFile(write_image(tmp_path / "b.tif", noise, transform=Affine(20.0, 0, 7.3, 0, -20.0, -11.9)))
    np.testing.assert_allclose(
        whole(file, target, shift_m=(7.3, -11.9))[0], whole(there, target)[0], rtol=1e-5
    )


def test_nine_tenths_of_a_pixel_must_be_valid(tmp_path: Path) -> None:
    data = np.full((100, 100), 0.5, dtype=np.float32)
    file = ImageFile(write_image(tmp_path / "a.tif", data, transform=Affine(4.0, 0, 0, 0, -4.0, 0)))
    # Valid from x = 4 m on, as a border pixel is taken off.
    for left, share, valid in [(0.0, 0.9, True), (-1.5, 0.8625, False), (1.5, 0.9375, True)]:
        found = resample(file, map_of(40.0, 9, 9, (left, 0.0)), (1, 9), (0, 9))
        assert found[2][0, 0] == pytest.approx(share, abs=0.026)
        assert found[1][0, 0] == valid
    strict = resample(file, map_of(40.0, 9, 9), (1, 9), (0, 9), min_valid=1.0)
    assert not strict[1][:, 0].any()
    assert strict[1][1:-1, 1:].all()


def test_an_image_coarser_than_the_map(tmp_path: Path) -> None:
    row, col = np.mgrid[0:20, 0:20]
    file = ImageFile(
        write_image(tmp_path / "a.tif", 1.0 * col + 3.0 * row, transform=Affine(100.0, 0, 0, 0, -100.0, 0))
    )
    values, valid, _ = whole(file, map_of(20.0, 40, 40, (600.0, -600.0)))
    at = 600 / 100 - 0.5 + (np.arange(40) + 0.5) / 5
    assert valid.all()
    np.testing.assert_allclose(values, at[None] + 3 * at[:, None], rtol=1e-5)


def test_touches(tmp_path: Path) -> None:
    file = ImageFile(
        write_image(tmp_path / "a.tif", np.ones((100, 100)), transform=Affine(20.0, 0, 0, 0, -20.0, 0))
    )
    target = map_of(40.0, 400, 400, (-4000.0, 4000.0))
    assert touches(file, target, (90, 110), (90, 110))
    assert not touches(file, target, (0, 40), (0, 40))
    assert touches(file, target, (0, 40), (0, 40), (-4000.0, 4000.0))
    values, valid, share = resample(file, target, (0, 40), (0, 40))
    assert np.isnan(values).all() and not valid.any() and not share.any()


def test_bad_windows_and_targets(tmp_path: Path) -> None:
    file = ImageFile(write_image(tmp_path / "a.tif", np.ones((9, 9))))
    target = map_of(40.0, 10, 10)
    with pytest.raises(ValueError, match="rows 5-11"):
        resample(file, target, (5, 11), (0, 10))
    with pytest.raises(ValueError, match="min_valid"):
        resample(file, target, (0, 10), (0, 10), min_valid=0.0)
    with pytest.raises(GridError, match="square north-up"):
        MapTarget(target.crs_wkt, Affine(40.0, 0, 0, 0, -30.0, 0), 9, 9)
    with pytest.raises(GridError, match="projected"):
        map_of(40.0, 10, 10, crs=LONLAT)
    with pytest.raises(GridError, match="6378"):
        map_of(40.0, 10, 10, crs="EPSG:32633")
    assert resample(file, target, (4, 4), (0, 10))[0].shape == (0, 10)


def test_real_images_on_their_sites_map(shared_data: Path) -> None:
    site = shared_data / "challenge" / "malapert_crater_1"
    grid = open_raster(site / "truth_40m.tif").grid
    target = MapTarget(grid.crs_wkt, grid.transform, grid.height, grid.width)
    found = []
    for path in sorted((site / "images").glob("*.tif"))[:6]:
        file = ImageFile(path)
        values, valid, _ = whole(file, target)
        assert valid.mean() > 0.1
        assert -1e-3 < values[valid].min() < values[valid].max() < 0.1
        part = resample(file, target, (64, 160), (37, 133))
        assert part[0].tobytes() == np.ascontiguousarray(values[64:160, 37:133]).tobytes()
        found.append(valid)
    assert len(found) == 6
    assert (np.sum(found, axis=0) > 1).any()


def test_a_real_strip_lies_where_its_samples_lie(shared_data: Path) -> None:
    path = shared_data / "nac_dtm_a15" / "M111578606RE.10mpp.tif"
    file = ImageFile(path)
    target = MapTarget(file.crs_wkt, Affine(20.0, 0, 95600.0, 0, -20.0, 800000.0), 400, 100)
    values, valid, _ = whole(file, target)
    source, mask = file.read(0, file.height, 0, file.width)
    col = np.floor((95600 + 20 * (np.arange(100) + 0.5) - file.transform.c) / file.transform.a).astype(int)
    row = np.floor((file.transform.f - 800000 + 20 * (np.arange(400) + 0.5)) / file.transform.a).astype(int)
    near, seen = source[np.ix_(row, col)], mask[np.ix_(row, col)]
    both = valid & seen
    assert both.mean() > 0.5
    assert np.corrcoef(values[both], near[both])[0, 1] > 0.95
