"""A southern site turned onto the north pole: the same pixels and Suns on the map give the same map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio

import pipeline
from map_sites import CELLS, FACTOR, NORTH, PIXEL, SOUTH, grid, write_site
from pipeline.config.images import ImagesSection
from pipeline.config.maps import MapSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.pretrained import PretrainedSection
from pipeline.config.site import SiteSection
from pipeline.maps.blend import Clones
from pipeline.maps.ground import read_ground
from pipeline.maps.images import MapImages, light_of, read_prepared, sun_of, sun_on_map
from pipeline.maps.layout import lay_out
from pipeline.maps.prepare import prepare_images
from pipeline.maps.render import Scene
from pipeline.maps.survey import survey
from pipeline.maps.tiling import tiles
from pipeline.maps.windows import sample_windows
from saved_models import save_system

pytestmark = pytest.mark.xdist_group("poles")
SIZE = CELLS * FACTOR
SECTION = MapSection(members=3, stride_px=32)
# Some of the images, from all sides.
USED = slice(1, 8, 3)
IMAGES = ImagesSection(light_m=1000, check_from=20)


@dataclass(frozen=True)
class Made:
    """An image of a site, what it gave on the way to its map, and the map's clones."""

    image: np.ndarray
    suns: np.ndarray
    boxes: list
    rendered: np.ndarray
    radiance: np.ndarray
    lit: np.ndarray
    gap: np.ndarray
    clones: np.ndarray


def made(folder: Path, weights: Path, crs: str) -> Made:
    folder.mkdir()
    write_site(folder, crs)
    names = sorted(str(path) for path in (folder / "nac").glob("M*.tif"))[USED]
    section = SiteSection(dem=str(folder / "ldem.tif"), suns=str(folder / "index.csv"), pixel_m=PIXEL)
    layout = lay_out(section, FACTOR, 32)
    ground = read_ground(section, layout, 2, IMAGES.light_m)
    rows = survey(names, section, IMAGES, layout.grid)
    scene = Scene(ground.surface, ground.margin_px, layout.grid, PhotometrySection(law="lambert"))
    prepare_images(rows, scene, layout.grid, IMAGES, True, folder / "images.zip")
    prepared = read_prepared([folder / "images.zip"], "map")
    suns = [sun_of(row.sun) for row in rows if row.sun is not None]
    places = [(0.0, 0.0), (SIZE - 1, 0), (SIZE / 2, SIZE - 1)]
    windows = tiles(SIZE, SIZE, 32, SECTION.stride_px, SIZE)[0]
    system = pipeline.load(weights)
    sample_windows(
        system, ground, MapImages(prepared, layout.grid), windows, SECTION, 3,
        PretrainedSection().sampler, folder / "clones.zip",
    )  # fmt: skip
    lit, gap = light_of(prepared, layout.grid)
    with rasterio.open(names[1]) as raster:
        image = raster.read(1)
    return Made(
        image,
        np.array([[sun_on_map(sun, layout.grid, *place) for place in places] for sun in suns]),
        [each.box for each in prepared],
        np.stack([scene.render(sun, (0, SIZE, 0, SIZE)).radiance for sun in suns]),
        np.stack([each.read(slice(0, SIZE), slice(0, SIZE)) for each in prepared]),
        lit, gap,
        Clones([folder / "clones.zip"], ground, SECTION, 3).band(0, SIZE).clones,
    )  # fmt: skip


@pytest.fixture(scope="module")
def poles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Made]:
    folder = tmp_path_factory.mktemp("poles")
    weights = save_system(folder / "weights", size_px=32, factor=FACTOR, noise=0.002)
    return made(folder / "south", weights, SOUTH), made(folder / "north", weights, NORTH)


def test_the_sites_lie_at_opposite_latitudes(poles: tuple[Made, Made]) -> None:
    south, north = (grid(crs).lonlat(3.0, 5.0) for crs in (SOUTH, NORTH))
    np.testing.assert_allclose(north[1], -south[1], atol=1e-9)
    assert (north[0] + south[0]) % 360 == pytest.approx(180)
    # The images lie on grids of their own, whose up is north: there they are turned by half a circle.
    files = [made.image for made in poles]
    np.testing.assert_allclose(files[1][::-1, ::-1], files[0], rtol=1e-4, equal_nan=True)
    assert np.nanmax(np.abs(files[1] - files[0])) > 0.1 * np.nanmax(files[0])


def test_suns_stand_alike_on_the_map(poles: tuple[Made, Made]) -> None:
    south, north = poles
    assert south.suns.shape == (3, 3, 3)
    np.testing.assert_allclose(north.suns, south.suns, atol=1e-9)


def test_renderings_and_prepared_images_are_alike(poles: tuple[Made, Made]) -> None:
    south, north = poles
    np.testing.assert_allclose(north.rendered, south.rendered, atol=1e-6, equal_nan=True)
    assert south.boxes == north.boxes and len(south.radiance) == 3
    np.testing.assert_allclose(north.radiance, south.radiance, atol=1e-5, equal_nan=True)
    np.testing.assert_array_equal(north.lit, south.lit)
    np.testing.assert_allclose(north.gap, south.gap, atol=1e-3, equal_nan=True)


def test_the_map_is_the_same(poles: tuple[Made, Made]) -> None:
    south, north = poles
    np.testing.assert_allclose(north.clones, south.clones, rtol=0, atol=1e-3)
    assert south.clones.std(axis=0, ddof=1).mean() > 0.05
