"""Where map pixels lie in an image: the lattice's polynomials, longitudes that repeat, and the pole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from image_files import EQUIRECTANGULAR, LOCAL, LONLAT, map_of, through, write_image
from raster_files import SOUTH

from pipeline.imagery import resample as module
from pipeline.imagery.lattice import Locator
from pipeline.imagery.raster import ImageFile
from pipeline.imagery.resample import resample

RADIUS = 1737400.0


def test_longitudes_of_either_kind(tmp_path: Path) -> None:
    data = np.random.default_rng(0).uniform(0.1, 1, (100, 120))
    unit = np.radians(1.0) * RADIUS
    target = map_of(1500.0, 40, 60, (-168 * unit, 3 * unit), EQUIRECTANGULAR)
    found = []
    for west in (190.0, -170.0):
        degrees = Affine(0.05, 0, west, 0, -0.04, 4.0)
        file = ImageFile(write_image(tmp_path / f"{west}.tif", data, LONLAT, degrees))
        found.append(resample(file, target, (0, target.height), (0, target.width)))
        metres = Affine(0.05 * unit, 0, west * unit, 0, -0.04 * unit, 4 * unit)
        file = ImageFile(write_image(tmp_path / f"{west}m.tif", data, EQUIRECTANGULAR, metres))
        found.append(resample(file, target, (0, target.height), (0, target.width)))
    assert found[0][1].all()
    for other in found[1:]:
        np.testing.assert_allclose(other[0], found[0][0], rtol=1e-4)


def test_a_lon_lat_image_about_the_pole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No polynomial fits at the pole and at the seam: points are taken one by one there."""
    transform = Affine(0.5, 0, -180, 0, -0.02, -89.0)
    lon = np.radians(-180 + 0.5 * (np.arange(720) + 0.5))
    lat = np.radians(-89 - 0.02 * (np.arange(50) + 0.5))
    data = 1 + np.sin(40 * np.cos(lat[:, None]) * np.sin(lon)) * np.cos(
        60 * np.cos(lat[:, None]) * np.cos(lon)
    )
    file = ImageFile(write_image(tmp_path / "a.tif", data, LONLAT, transform))
    target = map_of(1000.0, 40, 40, (-20000.0, 20000.0))
    values, valid, _ = resample(file, target, (0, target.height), (0, target.width))
    x, y = np.meshgrid(-19.5 + np.arange(40), 19.5 - np.arange(40))
    rho, turn = np.hypot(x, y) * 1e3 / RADIUS, np.arctan2(x, y)
    expected = 1 + np.sin(40 * rho * np.sin(turn)) * np.cos(60 * rho * np.cos(turn))
    # What is missing lies at the pole (the image's last row) and along the seam.
    assert valid.mean() > 0.95
    assert np.abs(values - expected)[valid].max() < 0.01
    part = resample(file, target, (11, 30), (13, 27))
    assert part[0].tobytes() == np.ascontiguousarray(values[11:30, 13:27]).tobytes()
    # Bent pixels need more of the image than their corners tell: small chunks give the same.
    monkeypatch.setattr(module, "_CHUNK_PIXELS", 50)
    part = resample(file, target, (11, 30), (0, 40))
    assert part[0].tobytes() == values[11:30].tobytes()


@pytest.mark.parametrize("crs, step", [(LOCAL, 5.0), (LONLAT, 0.0005), (EQUIRECTANGULAR, 10.0)])
def test_the_lattice_is_exact_to_a_hundredth_of_a_pixel(tmp_path: Path, crs: str, step: float) -> None:
    x, y = through(LONLAT, crs).transform(31.0, -85.1)
    transform = Affine(step, 0, x - 100 * step, 0, -step, y + 100 * step)
    file = ImageFile(write_image(tmp_path / "a.tif", np.ones((200, 200)), crs, transform))
    x, y = through(LONLAT, SOUTH).transform(31.0, -85.1)
    target = map_of(40.0, 96, 96, (x - 1920, y + 1920))
    locator = Locator(file, target, (0.0, 0.0))
    lattice = locator.cells((0, 96), (0, 96))
    assert (lattice.samples != 0).all()
    rng = np.random.default_rng(0)
    row, col = rng.uniform(0, 96, 4000), rng.uniform(0, 96, 4000)
    exact = locator.locate(row, col)
    cell = (row // 16).astype(int), (col // 16).astype(int)
    t, s = row % 16 / 8, col % 16 / 8
    for axis in range(2):
        p = lattice.patches[cell[0], cell[1], axis]
        at = sum(p[:, a, b] * t**a * s**b for a in range(3) for b in range(3))
        assert np.abs(at - exact[axis]).max() < 0.01
