"""Images ranked by what they add, on bowls and slopes whose light is known, and what a set lacks."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from image_files import write_image
from raster_files import write_tif

from pipeline.config.images import ImagesSection
from pipeline.config.site import SiteSection
from pipeline.imagery.suns.sun import Sun
from pipeline.maps.candidates import Blocks, Candidate, blocks_of, of_images, of_index, thinned
from pipeline.maps.ground import read_ground
from pipeline.maps.layout import lay_out
from pipeline.maps.select import Lack, lacking, rank
from pipeline.maps.survey import survey

SIZE, PIXEL = 96, 20.0
HALF = SIZE * PIXEL / 2
# From corner to corner around the pole: latitude of the corners of a square of HALF about it.
CORNERS = ("UPPER_RIGHT", "LOWER_RIGHT", "LOWER_LEFT", "UPPER_LEFT")


def place() -> tuple[np.ndarray, np.ndarray]:
    """Metres to the right and up of the pole, where every azimuth is a longitude."""
    steps = PIXEL * (np.arange(SIZE) + 0.5) - HALF
    return np.meshgrid(steps, -steps)


def bowl() -> np.ndarray:
    """A paraboloid whose walls are up to 4 deg steep: a Sun 1.5 deg high leaves the near wall dark."""
    x, y = place()
    return (x**2 + y**2) * np.tan(np.radians(3)) / (2 * HALF)


def blocks(folder: Path, heights: np.ndarray, most: int = 48) -> Blocks:
    """Blocks of a DEM around the south pole."""
    path = write_tif(folder / "dem.tif", heights.astype(np.float32), origin=(-HALF, HALF))
    section = SiteSection(dem=str(path))
    return blocks_of(read_ground(section, lay_out(section, 8, 32), 2, 100.0), most)


def seen(grid: Blocks, azimuth: float, lat: float = -1.5, name: str = "", covers: object = True) -> Candidate:
    """An image with the Sun at an azimuth, which at the pole is its longitude."""
    sun = Sun.from_subsolar(azimuth, lat, "test")
    x, y, z = grid.sun(sun)
    shown = np.broadcast_to(np.asarray(covers), grid.known.shape)
    found = float(np.degrees(np.arctan2(x, y)) % 360)
    return Candidate(name or f"{azimuth:g}", sun, found, float(np.degrees(np.arcsin(z))), shown)


@pytest.fixture(scope="module")
def in_bowl(tmp_path_factory: pytest.TempPathFactory) -> Blocks:
    return blocks(tmp_path_factory.mktemp("bowl"), bowl())


# --- the ranking ------------------------------------------------------------------------------------------


def test_the_opposite_side_of_a_bowl_comes_before_the_same_azimuth_again(in_bowl: Blocks) -> None:
    first, again, opposite = seen(in_bowl, 90), seen(in_bowl, 94), seen(in_bowl, 270)
    for given in ([first, again, opposite], [opposite, first, again]):
        picks = rank(given, in_bowl, 3)
        names = [pick.candidate.name for pick in picks]
        assert {names[0], names[1]} in ({"90", "270"}, {"94", "270"})
        assert picks[1].apart_deg > 170 and picks[2].apart_deg == pytest.approx(4, abs=0.1)
    assert picks[0].unlit > 0.05 and picks[1].unlit < 0.3 * picks[0].unlit


def test_a_right_angle_comes_before_a_like_sun_on_a_plane(tmp_path: Path) -> None:
    """On ground that both light, an image from the side tells the other part of the slope."""
    x, _ = place()
    plane = blocks(tmp_path, 0.002 * x)
    given = [seen(plane, 0), seen(plane, 15), seen(plane, 90)]
    picks = rank(given, plane, 3)
    assert {picks[0].candidate.name, picks[1].candidate.name} in ({"0", "90"}, {"15", "90"})
    slopes = [pick.slope_deg for pick in picks]
    assert slopes[0] > 1.3 * slopes[1] > 1.3 * slopes[2]
    # A tilted plane under a Sun of 1.5 deg is lit everywhere.
    assert [pick.lights for pick in picks] == [1.0] * 3 and picks[2].few == 0.0


def test_an_image_that_lights_nothing_is_not_chosen(tmp_path: Path) -> None:
    x, _ = place()
    grid = blocks(
        tmp_path, 0.1 * x
    )  # 5.7 deg, falling to the left: a Sun in the right 1.5 deg high is behind it
    picks = rank([seen(grid, 90, name="behind"), seen(grid, 270, name="before")], grid, 5)
    assert [pick.candidate.name for pick in picks] == ["before"]


def test_the_part_that_no_image_shows_decides(in_bowl: Blocks) -> None:
    left = np.indices(in_bowl.known.shape)[1] < 24
    first = seen(in_bowl, 0, name="left", covers=left)
    again, rest = (
        seen(in_bowl, 120, name="left again", covers=left),
        seen(in_bowl, 0, name="right", covers=~left),
    )
    picks = rank([first, again, rest], in_bowl, 2)
    assert {pick.candidate.name for pick in picks} in ({"left", "right"}, {"left again", "right"})
    # Ground that another image did not light has no azimuth to be apart from.
    assert picks[1].apart_deg == 360


def test_want_limits_the_set_and_the_set_is_the_same_again(in_bowl: Blocks) -> None:
    given = [seen(in_bowl, 30.0 * k) for k in range(12)]
    long, short = rank(given, in_bowl, 12), rank(given, in_bowl, 5)
    assert len(short) == 5 and short == long[:5]
    assert all(one.slope_deg >= two.slope_deg for one, two in itertools.pairwise(long))
    assert all(one.unlit >= two.unlit and one.few >= two.few for one, two in itertools.pairwise(long))


def test_blocks_are_means_and_a_map_of_missing_heights_is_refused(tmp_path: Path, in_bowl: Blocks) -> None:
    assert in_bowl.known.shape == (48, 48) and in_bowl.grid.pixel_m == 2 * PIXEL
    x, y = place()
    fine, coarse = (blocks(tmp_path, 0.03 * x + 0.01 * y, most) for most in (96, 12))
    for grid in (fine, coarse):
        np.testing.assert_allclose(grid.right, 0.03, atol=1e-4)
        np.testing.assert_allclose(grid.up, 0.01, atol=1e-4)
    assert coarse.known.shape == (12, 12)


# --- what a set lacks -------------------------------------------------------------------------------------


def test_the_widest_gap_and_the_side_that_is_dark(in_bowl: Blocks) -> None:
    lack = lacking([seen(in_bowl, azimuth) for azimuth in (40, 80, 120)], in_bowl)
    assert lack.gap == pytest.approx((120, 40), abs=0.2) and lack.gap_deg == pytest.approx(280, abs=0.3)
    assert 0.5 < lack.few < 0.7
    azimuth, elevation, share = lack.helpers[0]
    # The wall towards these Suns is lit from the other side.
    assert 200 < azimuth < 320 and elevation == pytest.approx(1.7, abs=0.1) and share > 0.6
    assert lack.dark < 0.01


def test_a_full_circle_lacks_little_and_none_lacks_all(in_bowl: Blocks) -> None:
    around = lacking([seen(in_bowl, 20.0 * k) for k in range(18)], in_bowl)
    assert around.gap_deg == pytest.approx(20, abs=0.2) and around.few < 0.01
    alone = lacking([seen(in_bowl, 10)], in_bowl)
    assert (alone.gap_deg, alone.few) == (360, 1.0)
    assert Lack((10.0, 10.0), 1.0, (), 0.0).gap_deg == 360


# --- candidates -------------------------------------------------------------------------------------------


def index(folder: Path, rows: list[dict[str, object]]) -> str:
    names = ["PRODUCT_ID", "SUB_SOLAR_LATITUDE", "SUB_SOLAR_LONGITUDE", "CENTER_LATITUDE", "CENTER_LONGITUDE"]
    names += [
        "EMISSION_ANGLE",
        *(f"{corner}_{axis}" for corner in CORNERS for axis in ("LATITUDE", "LONGITUDE")),
    ]
    with (folder / "index.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, names, restval="9999.99")
        table.writeheader()
        table.writerows(rows)
    return str(folder / "index.csv")


def row(
    product: str, grid: Blocks, box: tuple[float, float, float, float] | None = None, **more: object
) -> dict:
    """A row of the index; `box` is left, bottom, right, top of its corners, metres on the map."""
    found: dict[str, object] = {
        "PRODUCT_ID": product, "SUB_SOLAR_LATITUDE": -1.5, "SUB_SOLAR_LONGITUDE": 30,
        "CENTER_LATITUDE": -89.9, "CENTER_LONGITUDE": 12, "EMISSION_ANGLE": 1.0,
    }  # fmt: skip
    if box is not None:
        left, bottom, right, top = box
        for corner, xy in zip(CORNERS, ((right, top), (right, bottom), (left, bottom), (left, top))):
            lon, lat = (float(v) for v in grid.grid.projection.lonlat(*xy))
            found |= {f"{corner}_LATITUDE": f"{lat:.8f}", f"{corner}_LONGITUDE": f"{lon:.8f}"}
    return found | more


def test_rows_of_an_index_need_no_image_file(tmp_path: Path, in_bowl: Blocks) -> None:
    rows = [
        row("M101000000LE", in_bowl, (-HALF, -HALF, 0, HALF)),  # the left half
        row("M101000000LC", in_bowl),  # the same image, calibrated
        row("M102000000RE", in_bowl),  # corners unknown
        row("M103000000LE", in_bowl, SUB_SOLAR_LATITUDE=1.0),  # the Sun is down
        row("M104000000LE", in_bowl, EMISSION_ANGLE=25.0),
        row("M105000000LE", in_bowl, SUB_SOLAR_LATITUDE="9999.99"),
        row("M106000000LE", in_bowl, CENTER_LATITUDE=-70, SUB_SOLAR_LATITUDE=45),  # far, and impossible
        row("M107000000LE", in_bowl, (5000, 5000, 6000, 6000)),  # beside the map
        row("M108000000LE", in_bowl, CENTER_LATITUDE="9999.99"),
    ]
    half, whole = of_index(index(tmp_path, rows), in_bowl, ImagesSection())
    assert (half.name, whole.name) == ("M101000000LE", "M102000000RE")
    assert half.covers[:, :24].all() and not half.covers[:, 24:].any()
    assert whole.covers.all() and "corners unknown" in whole.note and not half.note
    assert half.azimuth_deg == pytest.approx(30, abs=0.5) and half.elevation_deg == pytest.approx(
        1.5, abs=0.01
    )
    with pytest.raises(ValueError, match=r"index\.csv: expected rows of images of the map .*found none"):
        of_index(index(tmp_path, rows[3:5]), in_bowl, ImagesSection())


def test_an_index_has_corners_without_a_header_too(tmp_path: Path, shared_data: Path) -> None:
    """Columns 71 to 78 of the real file; a corner far from its place would show nothing of the map."""
    real = shared_data / "nac" / "CUMINDEX_LROC.TAB"
    dem = shared_data / "nac" / "dem_1m_84S59E.tif"
    if not (real.is_file() and dem.is_file()):
        pytest.skip("nac is not beside the project")
    (tmp_path / "bare.tab").write_text("\n".join(real.read_text().splitlines()[1:]) + "\n")
    section = SiteSection(dem=str(dem), pixel_m=20.0)
    grid = blocks_of(read_ground(section, lay_out(section, 8, 32), 2, 100.0), 48)
    (found,) = of_index(str(tmp_path / "bare.tab"), grid, ImagesSection())
    assert found.name == "M1225822680LE" and found.covers.mean() > 0.3


def test_images_cover_what_has_data(tmp_path: Path, in_bowl: Blocks) -> None:
    values = np.random.default_rng(0).uniform(0.01, 0.1, (SIZE, SIZE)).astype(np.float32)
    values[: SIZE // 4] = np.nan
    path = write_image(
        tmp_path / "a.tif", values, transform=Affine(PIXEL, 0, -HALF, 0, -PIXEL, HALF), nodata=np.nan
    )
    low = write_image(tmp_path / "b.tif", values, transform=Affine(PIXEL, 0, -HALF, 0, -PIXEL, HALF))
    suns = tmp_path / "suns.csv"
    suns.write_text("IMAGE,SUB_SOLAR_LATITUDE,SUB_SOLAR_LONGITUDE\na.tif,-1.5,200\nb.tif,1,200\n")
    dem = write_tif(tmp_path / "dem.tif", np.zeros((SIZE, SIZE), np.float32), origin=(-HALF, HALF))
    site = SiteSection(dem=str(dem), suns=str(suns))
    rows = survey([str(path), str(low)], site, ImagesSection(), in_bowl.grid)
    (found,) = of_images(rows, in_bowl)
    assert found.name == str(path) and found.azimuth_deg == pytest.approx(200, abs=0.5)
    assert not found.covers[:12].any() and found.covers[12:].all()


def test_too_many_are_thinned_alike_over_the_azimuths(in_bowl: Blocks) -> None:
    small = np.indices(in_bowl.known.shape)[0] < 8
    crowd = [seen(in_bowl, 90.5, name=f"crowd {k}", covers=small) for k in range(9)]
    whole, other = seen(in_bowl, 91, name="whole"), seen(in_bowl, 200, name="other")
    kept = thinned([*crowd, whole, other], in_bowl, 3)
    assert {c.name for c in kept} == {"whole", "other", "crowd 0"}
    assert len(thinned(crowd, in_bowl, 400)) == 9
