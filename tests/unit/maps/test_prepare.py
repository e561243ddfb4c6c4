"""Images made ready for a map: what lies off is moved back, what is known is used, a killed job goes on."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from image_files import write_image
from raster_files import SOUTH
from scipy import ndimage

from pipeline.config.images import ImagesSection
from pipeline.config.photometry import PhotometrySection
from pipeline.imagery.exposure import Exposure
from pipeline.imagery.suns.sun import Sun
from pipeline.maps import prepare
from pipeline.maps.first_pass import Known, exposures_of, lit_blocks, records_of, withheld_of
from pipeline.maps.images import read_prepared, sun_record
from pipeline.maps.kept import KeptImages
from pipeline.maps.prepare import Prepared, prepare_image, prepare_images
from pipeline.maps.render import Scene
from pipeline.maps.survey import Surveyed
from pipeline.terrain.map_grid import MapGrid, lunar_projection

SIZE, MARGIN, PIXEL = 128, 8, 40.0
GRID = MapGrid(lunar_projection(SOUTH).wkt_text, Affine(PIXEL, 0, 20_000, 0, -PIXEL, 150_000), SIZE, SIZE)
WHOLE = (0, SIZE, 0, SIZE)
SUN = Sun.from_subsolar(60.0, 1.5, "test")


@pytest.fixture(scope="module")
def scene() -> Scene:
    noise = np.random.default_rng(4).normal(size=(SIZE + 2 * MARGIN,) * 2)
    heights = 3000 * ndimage.gaussian_filter(noise, 10) + 40 * ndimage.gaussian_filter(noise[::-1], 2)
    return Scene(heights.astype(np.float32), MARGIN, GRID, PhotometrySection(law="lambert"))


def picture(scene: Scene, path: Path, east_m: float = 0.0, north_m: float = 0.0, gain: float = 0.05) -> str:
    """An image of the scene that says it lies to the right and up of where it does."""
    light = scene.render(SUN, WHOLE).radiance
    place = Affine(PIXEL, 0, 20_000 + east_m, 0, -PIXEL, 150_000 + north_m)
    write_image(path, (gain * light).astype(np.float32), transform=place)
    return str(path)


def row(path: str, **more: Any) -> Surveyed:
    return Surveyed(path, sun=sun_record(SUN), sun_source="row", azimuth_deg=60.0, box=WHOLE, **more)


@pytest.mark.parametrize("moves", [True, False])
def test_an_image_that_lies_off_is_moved_back_where_shifts_are_applied(
    scene: Scene, tmp_path: Path, moves: bool
) -> None:
    """The true radiance comes back, and the table tells metres."""
    path = picture(scene, tmp_path / "off.tif", east_m=60.0, north_m=-32.0)
    found, values = prepare_image(
        row(path), scene, GRID, ImagesSection(shift_sigma_m=100.0), 0.0 if moves else None
    )
    assert found.used and values is not None
    assert (found.shift_right_m, found.shift_up_m) == pytest.approx((60.0, -32.0), abs=4)
    expected = scene.render(SUN, WHOLE).radiance
    here = np.s_[8:-8, 8:-8]
    error = float(np.nanstd(values[here] - expected[here]) / np.nanstd(expected[here]))
    if moves:
        assert (found.applied_right_m, found.applied_up_m) == pytest.approx((-60.0, 32.0), abs=5)
        assert error < 0.12
    else:
        assert (found.applied_right_m, found.applied_up_m) == (0, 0)
        assert error > 0.25


def test_an_image_of_a_gap_of_the_dem_is_left_out(scene: Scene, tmp_path: Path) -> None:
    """Its whole box, with or without heights right beside it."""
    heights = scene._surface.copy()
    heights[:, : MARGIN + 40] = np.nan
    holed = Scene(heights, MARGIN, GRID, PhotometrySection(law="lambert"))
    path = picture(scene, tmp_path / "image.tif")
    for right in (30, 40):
        box = (0, SIZE, 0, right)
        assert np.isnan(holed.render(SUN, box).share).all()
        found, values = prepare_image(
            replace(row(path), box=box), holed, GRID, ImagesSection(), 0.0, Known(0.05, 0.1)
        )
        assert not found.used and found.why and values is None


def test_shifts_are_allowed_in_pixels_of_the_map_where_no_metres_are_given() -> None:
    section = ImagesSection()
    assert [section.max_shift(pixel) for pixel in (5, 40, 1280)] == [200, 200, 6400]
    assert [section.shift_sigma(pixel) for pixel in (5, 40, 1280)] == [20, 20, 640]
    assert ImagesSection(max_shift_m=7.0, shift_sigma_m=0.0).max_shift(1280) == 7
    assert ImagesSection(max_shift_m=7.0, shift_sigma_m=0.0).shift_sigma(1280) == 0


def test_a_known_exposure_is_used(scene: Scene, tmp_path: Path) -> None:
    path = picture(scene, tmp_path / "image.tif", gain=0.04)
    matched, values = prepare_image(row(path), scene, GRID, ImagesSection(), 0.0)
    given, brighter = prepare_image(row(path), scene, GRID, ImagesSection(), 0.0, Known(0.02, 0.0))
    assert matched.exposure == pytest.approx(0.04, rel=0.02) and given.exposure == 0.02
    assert values is not None and brighter is not None
    np.testing.assert_allclose(brighter, values * (matched.exposure / 0.02), rtol=1e-5)


def record(
    exposure: float | None, given: float | None, used: bool = True, scatter: float | None = None
) -> dict[str, Any]:
    image = {"exposure": given}
    return {"path": "x", "used": used, "exposure": exposure, "scatter": scatter, "image": image}


def test_a_list_of_exposures_gives_ratios_and_the_dem_their_unit(caplog: pytest.LogCaptureFixture) -> None:
    records = [record(0.05, 5.0), record(0.11, 10.0), record(0.02, 2.0), record(0.9, 1.0, used=False)]
    with caplog.at_level(logging.WARNING):
        found = exposures_of([*records, record(0.3, None)])
    assert found[4] is None
    assert [one.scale for one in found[:4] if one] == pytest.approx([0.05, 0.1, 0.02, 0.01])
    assert [one.with_match(Exposure(0.3, 0.1)) for one in found[:3] if one] == pytest.approx(
        [0.05, 0.1, 0.02]
    )
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        exposures_of([*records, record(0.05, 8.0)])
    assert len(caplog.records) == 1 and "site.exposures" in caplog.text
    assert exposures_of([record(0.3, None, scatter=0.1)]) == [None]


def test_exposures_that_are_unsure_are_drawn_towards_those_that_agree() -> None:
    sure = [record(0.13 * (1 + 0.05 * k), None, scatter=0.1) for k in (-2, -1, 0, 1, 2)]
    found = exposures_of(
        [*sure, record(0.006, None, scatter=1.3), record(0.07, None, used=False, scatter=0.7)]
    )
    known = found[0]
    assert known is not None and found == [known] * 7
    assert known.with_match(Exposure(0.006, 1.3)) == pytest.approx(0.13, rel=0.05)
    assert known.with_match(Exposure(0.09, 0.5)) == pytest.approx(0.13, rel=0.1)
    assert known.with_match(Exposure(0.12, 0.1)) == pytest.approx(0.12, rel=0.01)
    # Film has exposures of any size, and each image's own counts.
    film = exposures_of([record(800.0 * 1.5**k, None, scatter=0.15) for k in range(6)])[0]
    assert film is not None and film.with_match(Exposure(300.0, 0.15)) == pytest.approx(300, rel=0.01)
    assert exposures_of(sure[:4]) == [None] * 4


def test_an_image_without_an_exposure_of_its_own_waits_for_the_set(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "exposure", lambda *_: Exposure(0.01, 1.2))
    path = picture(scene, tmp_path / "image.tif")
    found, values = prepare_image(row(path), scene, GRID, ImagesSection(), 0.0)
    assert not found.used and values is None and "its exposure is uncertain" in found.why
    found, values = prepare_image(row(path), scene, GRID, ImagesSection(), 0.0, Known(0.05, 0.1))
    assert found.used and values is not None


@pytest.mark.parametrize(("scatter", "used"), [(0.25, True), (0.65, False)])
def test_a_certain_match_is_not_overruled_by_the_set(
    scatter: float, used: bool, scene: Scene, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    """12 images in I/F and one in DN; the ratio of their exposures is no scatter of one camera."""
    sure = [record(0.05 * (1 + 0.02 * k), None, scatter=0.2) for k in range(-6, 6)]
    known = exposures_of([*sure, record(600.0, None, scatter=0.25)])[-1]
    monkeypatch.setattr(prepare, "exposure", lambda *_: Exposure(600.0, scatter))
    path = picture(scene, tmp_path / "image.tif", gain=600.0)
    found, values = prepare_image(row(path), scene, GRID, ImagesSection(), 0.0, known)
    assert found.used == used == (values is not None) == ("uncertain" not in found.why)
    assert found.exposure == 600 and len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{path}: exposure 600 by the match with the DEM, 0.05 +- ")


def seen(azimuth: float, lit: dict[int, int], used: bool = True, scatter: float = 0.1) -> dict[str, Any]:
    image = {"azimuth_deg": azimuth}
    return {"used": used, "scatter": scatter, "image": image, "lit": [[k, n] for k, n in lit.items()]}


def test_withheld_images_can_be_used_come_from_all_sides_and_cover_the_map() -> None:
    section = ImagesSection(withhold=0.1, withhold_least=3, check_from=8)
    # Of every side one image lights block 0 and one another block; the refused and the unsure light most.
    records = [
        *(seen(100.0 * side + k, {0 if k == 0 else side: 2000}) for side in range(3) for k in range(3)),
        seen(50.0, dict.fromkeys(range(9), 9000), used=False),
        seen(250.0, dict.fromkeys(range(9), 9000), scatter=0.9),
    ]
    found = withheld_of(records, section)
    assert len(found) == 3 and not found & {9, 10}
    azimuths = sorted(records[i]["image"]["azimuth_deg"] // 100 for i in found)
    assert azimuths == [0, 1, 2]
    assert {block for i in found for block, _ in records[i]["lit"]} == {0, 1, 2}
    assert withheld_of(records[:7], section) == set()  # too few
    assert withheld_of(records, ImagesSection(withhold=0.0)) == set()


def test_lit_pixels_are_counted_by_block() -> None:
    values = np.zeros((60, 50), np.float32)
    values[:2, :10], values[50:, :] = 1.0, 0.2
    values[0, 0] = np.nan
    found = lit_blocks(values, (0, 60, 40, 90), (96, 96), 1.0)
    assert found == [[0, 2 * 8 - 1], [1, 2 * 2], [2, 10 * 8], [3, 10 * 42]]


def test_a_killed_chunk_goes_on_with_the_image_after_the_last_whole_one(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(picture(scene, tmp_path / f"{k}.tif", gain=0.01 * (k + 1))) for k in range(3)]
    plain, broken = tmp_path / "plain.zarr.zip", tmp_path / "broken.zarr.zip"
    prepare_images(rows, scene, GRID, ImagesSection(), 0.0, plain)
    once, done = prepare.prepare_image, []

    def dies(image: Surveyed, *rest: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(image.path)
        return once(image, *rest)

    monkeypatch.setattr(prepare, "prepare_image", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare_images(rows, scene, GRID, ImagesSection(), 0.0, broken)
    assert not broken.exists()
    again: list[str] = []
    monkeypatch.setattr(
        prepare, "prepare_image", lambda image, *rest: (again.append(image.path), once(image, *rest))[1]
    )
    prepare_images(rows, scene, GRID, ImagesSection(), 0.0, broken)
    assert again == [rows[2].path]
    assert broken.read_bytes() == plain.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    assert [image.path for image in read_prepared([broken], "all")] == [r.path for r in rows]
    assert [r["path"] for r in records_of([broken, plain])] == [r.path for r in rows] * 2
    assert [i.path for i in read_prepared([broken, plain], "check", {1, 5})] == [rows[1].path, rows[2].path]


@pytest.mark.parametrize(
    ("last", "said"), [(True, "not used: wrong"), (False, "not used for the first reconstruction: wrong")]
)
def test_a_refusal_says_what_it_is_for(
    last: bool, said: str, scene: Scene, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    one = row(picture(scene, tmp_path / "one.tif"))
    refused = Prepared(one, why="wrong place")
    monkeypatch.setattr(prepare, "prepare_image", lambda *_: (refused, None))
    prepare_images([one], scene, GRID, ImagesSection(), 0.0, tmp_path / "out.zarr.zip", last=last)
    assert len(caplog.messages) == 1 and said in caplog.messages[0]


def test_a_damaged_kept_image_is_made_again(tmp_path: Path) -> None:
    kept = KeptImages(tmp_path / "store.zarr.zip")
    kept.put(4, {"why": "", "used": True}, np.ones((2, 3), np.float32))
    record, values = kept.get(4) or ({}, None)
    assert record == json.loads(json.dumps({"why": "", "used": True})) and values is not None
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-40])
    assert kept.get(4) is None and kept.get(5) is None
