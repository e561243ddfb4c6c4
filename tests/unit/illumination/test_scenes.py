"""Stage `scenes`: Suns of true places, laws and shifts of sets, and the store of a tile."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from patch_files import HALO, PIXEL, SIZE, make_patches

from pipeline.config.scenes import ScenesSection, SceneSuns
from pipeline.config.stages.light import ScenesStage
from pipeline.illumination.directions import azimuth_elevation
from pipeline.illumination.place import Place
from pipeline.illumination.scenes import draw_law, draw_shifts, render_tile
from pipeline.illumination.seasons import Seasons
from pipeline.storage.store import open_store

SCENES = ScenesSection(sets=3, images=5, mesh=2, seed=4)
STAGE = ScenesStage(scenes=SCENES, size_px=SIZE, factor=4, halo_px=4, far_m=0.0, far_cell_px=16)
SPLIT = {40: "train", 7: "test", 1 << 40: "validation", 12: "dropped", 3: "train"}


def seasons(place: Place, seed: int = 0, **suns) -> Seasons:
    return Seasons(SceneSuns.model_validate(suns), place, np.random.default_rng(seed))


def test_suns_at_the_pole_stand_as_high_as_the_season():
    pole = Place(30.0, -90.0, 30.0, -1)
    azimuth, elevation = azimuth_elevation(seasons(pole, own=1, one_side=0).draw(4000))
    assert elevation.min() >= 1 and 1.55 < elevation.max() <= 1.5901
    # Declinations are those of a random time of the year: a third of arcsin(1 / 1.59) to 90 degrees.
    above = (elevation > 1.4).mean() * (1 - np.arcsin(1 / 1.59) * 2 / np.pi)
    np.testing.assert_allclose(above, 1 - np.arcsin(1.4 / 1.59) * 2 / np.pi, atol=0.02)
    assert np.histogram(azimuth, 8, (0, 360))[0].min() > 400


def test_the_noon_sun_stands_towards_the_equator():
    place = Place(0.0, 60.0, 0.0, 1)  # on the northern map at longitude 0, north is up
    azimuth, elevation = azimuth_elevation(seasons(place, own=1, one_side=0).draw(2000))
    assert elevation.max() < 90 - 60 + 1.6 and elevation.max() > 30
    np.testing.assert_allclose(azimuth[elevation.argmax()], 180, atol=10)


def test_other_places_have_the_latitudes_asked_for_and_one_side_is_one_side():
    far = [
        seasons(Place(0.0, -89.0, 0.0, -1), seed, own=0, one_side=1, latitude=[50, 60]) for seed in range(30)
    ]
    latitudes = np.array([each.place.lat for each in far])
    assert np.all((np.abs(latitudes) >= 50) & (np.abs(latitudes) <= 60)) and np.ptp(np.sign(latitudes)) == 2
    spans = []
    for each in far:
        suns = each.draw(300)
        mean = suns[:, :2].sum(axis=0)
        unit = suns[:, :2] / np.linalg.norm(suns[:, :2], axis=1, keepdims=True)
        aside = np.degrees(np.arctan2(unit[:, 0] * mean[1] - unit[:, 1] * mean[0], unit @ mean))
        spans.append(np.ptp(aside))
    assert max(spans) <= 180 and min(spans) < 110


def test_a_sun_that_never_rises_so_high_is_refused():
    with pytest.raises(ValueError, match=r"scenes\.suns\.elevation: expected .* \[20, 30\] .* latitude -89"):
        seasons(Place(0.0, -89.0, 0.0, -1), own=1, elevation=[20, 30]).draw(3)


def test_each_law_is_drawn_with_its_parameter():
    rng = np.random.default_rng(0)
    drawn = [draw_law(SCENES, rng) for _ in range(300)]
    names = [law[0][1].law for law in drawn]
    assert all(70 < names.count(name) < 130 for name in SCENES.laws)
    thetas = [law[0][1].hapke.theta_deg for law in drawn if law[0][1].law == "hapke"]
    assert 0 <= min(thetas) < 3 and 27 < max(thetas) <= 30
    mixed = [law for law in drawn if len(law) == 2]
    assert len(mixed) == names.count("lunar_lambert")
    assert all(np.isclose(a + b, 1) and law.law == "lambert" for (a, _), (b, law) in mixed)


def test_shifts_of_a_set_share_one_part():
    section = ScenesSection(images=400, shift_px=0.6, common_px=0.5)
    sets = np.stack([draw_shifts(section, np.random.default_rng(seed)) for seed in range(60)])
    spread, middle = sets.std(axis=1), sets.mean(axis=1)
    assert spread.max() < 0.65 and spread.min() < 0.1
    np.testing.assert_allclose(spread[:, 0], spread[:, 1], rtol=0.2, atol=0.01)
    np.testing.assert_allclose(middle.std(), 0.5, rtol=0.2)
    wild = draw_shifts(ScenesSection(images=1000, shift_px=2, common_px=2), np.random.default_rng(1))
    assert np.abs(wild).max() <= 4


def test_fields_that_make_no_sense_are_refused():
    for bad, key in (
        ({"laws": ["lambert", "lambert"]}, "laws"),
        ({"theta_deg": [0, 70]}, "theta_deg"),
        ({"suns": {"elevation": [0, 80]}}, "elevation"),
        ({"suns": {"declination": [-2, 2]}}, "declination"),
    ):
        with pytest.raises(ValueError, match=f"{key}: expected"):
            ScenesSection.model_validate(bad)


@pytest.fixture
def tile(tmp_path: Path) -> Path:
    make_patches(tmp_path / "patches.zarr.zip", list(SPLIT), relief=3.0)
    patches = {str(i): split for i, split in SPLIT.items()}
    (tmp_path / "split.json").write_text(json.dumps({"schema": "split/1", "patches": patches}))
    return tmp_path


def rendered(tile: Path, name: str = "scenes", workers: int = 1, **changes) -> Path:
    stage = STAGE.model_copy(update={"scenes": SCENES.model_copy(update=changes)})
    out = tile / f"{name}.zarr.zip"
    render_tile(tile / "patches.zarr.zip", tile / "split.json", stage, out, workers)
    return out


def test_the_store_holds_the_sets_of_the_patches_that_train(tile: Path):
    found = open_store(rendered(tile), schema="scenes")
    assert found["id"].values.tolist() == [40, 1 << 40, 3]
    assert found["radiance"].shape == (3, 15, SIZE, SIZE) and found["radiance"].dtype == np.float16
    assert found["radiance"].dims == ("patch", "image", "y", "x")
    assert found["set"].values.tolist() == [[0] * 5 + [1] * 5 + [2] * 5] * 3
    assert found.attrs["pixel_m"] == PIXEL and found.attrs["mesh"] == 2 and found.attrs["sets"] == 3
    sun = found["sun"].values
    np.testing.assert_allclose(np.linalg.norm(sun, axis=-1), 1, atol=1e-6)
    assert np.degrees(np.arcsin(sun[..., 2])).min() >= 0.999
    assert not np.array_equal(sun[0], sun[2]) and len(np.unique(sun[0, :, 0])) == 15
    values = found["radiance"].values
    assert np.isfinite(values).all() and values.min() >= 0 and values.max() < 1
    assert ((values > 0).mean(axis=(2, 3)) > 0.05).mean() > 0.9
    assert np.abs(found["shift"].values).max() <= 4


def test_bytes_depend_on_seed_and_id_only(tile: Path, tmp_path: Path):
    one, three = rendered(tile), rendered(tile, "three", workers=3)
    assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(three.read_bytes()).digest()
    other = tmp_path / "other"
    other.mkdir()
    make_patches(other / "patches.zarr.zip", [99, 3], relief=3.0)
    split = {"schema": "split/1", "patches": {"99": "train", "3": "validation"}}
    (other / "split.json").write_text(json.dumps(split))
    a, b = open_store(one), open_store(rendered(other))
    for name in ("sun", "shift", "radiance"):
        np.testing.assert_array_equal(a[name][2], b[name][1])
    again = open_store(rendered(tile, "again", seed=5))
    assert not np.array_equal(again["sun"], a["sun"])


def test_a_sun_that_lights_nothing_is_drawn_again(tile: Path):
    options = {"suns": SceneSuns(elevation={"low": 1, "high": 20}), "images": 30}
    kept, none = (open_store(rendered(tile, f"lit{lit}", lit=lit, **options)) for lit in (0.6, 0.0))
    shares = [(each["radiance"].values > 0).mean(axis=(2, 3)) for each in (kept, none)]
    assert (shares[0] < 0.4).mean() < 0.5 * (shares[1] < 0.4).mean()


def test_stores_that_do_not_fit_are_refused(tile: Path):
    def refused(**changes):
        stage = STAGE.model_copy(update=changes)
        render_tile(tile / "patches.zarr.zip", tile / "split.json", stage, tile / "none.zarr.zip")

    with pytest.raises(ValueError, match=f"expected patches of 32 px, found {SIZE}"):
        refused(size_px=32)
    with pytest.raises(ValueError, match=f"expected a halo of at least 9 px, found {HALO}"):
        refused(halo_px=9)
    with pytest.raises(ValueError, match="expected a store of far terrain, found none"):
        refused(far_m=5000.0)
    assert not (tile / "none.zarr.zip").exists()
