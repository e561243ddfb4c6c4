"""The light of a region: Suns of its own place, swaths over it, shadows of far terrain, and the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raster_files import NORTH, SOUTH
from region_terrain import FACTOR, hills, make_terrain

from pipeline.config.illumination import IlluminationSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.region import RegionSection
from pipeline.illumination.directions import azimuth_elevation, fixed_directions, near_suns, vectors
from pipeline.illumination.ephemeris import SunTrack, map_vectors, sun_vector
from pipeline.illumination.far_blocks import write_far
from pipeline.region.ground import centre_of, read_ground
from pipeline.region.place import Place
from pipeline.region.render import render
from pipeline.region.shadows import far_around, trace_region

SIZE = 64
POLES = {1: NORTH, -1: SOUTH}
FIXED = fixed_directions()


@pytest.fixture(scope="module")
def grounds(tmp_path_factory):
    """Ground of a region around (70, -110) km on the map of each pole: 4.3 degrees from it."""
    out = {}
    for pole, crs in POLES.items():
        folder = tmp_path_factory.mktemp("terrain")
        terrain = make_terrain(folder, (69_000, -109_000), crs, a=hills(100, 100, metres=60))
        out[pole] = read_ground(terrain, Place(0, 18, 18, SIZE), FACTOR, 1)[1]
    return out


def images_of(ground, light=None, illumination=None, tolerance=0.1, track=None, far=None, **keys):
    keys = {"size_px": SIZE, "images": 3000, "half_width_px": None, **keys}
    section = RegionSection(**keys, light=light or {})
    illumination = illumination or IlluminationSection()
    return render(ground, section, illumination, tolerance, PhotometrySection(), track, far)


def day(place, declination=0.0):
    """Suns of a day over a place, from the sphere's geometry; map frame."""
    azimuth, elevation = sun_vector(place.lon, place.lat, np.arange(0.0, 360.0, 0.5), declination)
    up = elevation > 0
    return map_vectors(azimuth[up], elevation[up], place)


def drawn(images):
    """Indices of the fixed directions that the images come from."""
    return set(np.argmin(np.linalg.norm(FIXED[:, None] - images.suns[None], axis=2), axis=0).tolist())


def assert_near(images, suns, tolerance=0.1):
    """All directions near the Suns were drawn, and no other; the arc's steps may decide narrow cases."""
    surely, perhaps = (set(near_suns(suns, tolerance + x, FIXED).tolist()) for x in (-0.003, 0.003))
    assert surely <= drawn(images) <= perhaps


# --- the place ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pole", POLES)
def test_the_true_place_has_the_suns_of_the_regions_centre(grounds, pole):
    ground = grounds[pole]
    assert centre_of(ground.grid).lat == pytest.approx(pole * 85.7, abs=0.1)
    images = images_of(ground, {"place": True})
    assert_near(images, day(centre_of(ground.grid)))
    # Whatever the pole, the equator lies away from it, and there the Sun stands highest.
    azimuth, elevation = azimuth_elevation(images.suns)
    equator, _ = azimuth_elevation([70.0, -110.0, 0.0])
    high = np.abs((azimuth[elevation > 7] - equator + 180) % 360 - 180)
    assert len(high) and high.max() < 30
    assert set(elevation.round().tolist()) == {5, 10}


@pytest.mark.parametrize("pole", POLES)
def test_declination_moves_the_suns_up_and_down(grounds, pole):
    ground, found = grounds[pole], []
    for declination in (0.0, 1.5 * pole):
        light = {"place": "true", "declination": declination}
        images = images_of(ground, light, tolerance=0.03)
        assert_near(images, day(centre_of(ground.grid), declination), 0.03)
        found.append(drawn(images))
    # In summer the Sun of noon stands 4.3 + 1.5 degrees high, and is near the ring at 5 degrees for longer.
    assert found[0] < found[1]
    # In winter it is 2.8 degrees: below the ring by more than the tolerance of 1.7 degrees.
    with pytest.raises(ValueError, match=r"region\.light: no usable .* declination \[-?1\.5, -?1\.5\]"):
        images_of(ground, {"place": "true", "declination": -1.5 * pole}, tolerance=0.03)


@pytest.mark.parametrize("pole", POLES)
def test_an_assumed_latitude_is_on_the_regions_own_side_of_the_moon(grounds, pole):
    images = images_of(grounds[pole], {"latitude": 85, "longitude": 0})
    azimuth, elevation = azimuth_elevation(images.suns)
    # At longitude 0 the equator lies down on the northern map and up on the southern one.
    noon = {1: 180.0, -1: 0.0}[pole]
    assert np.abs((azimuth[elevation > 7] - noon + 180) % 360 - 180).max() < 40
    assert {5, 10} == set(elevation.round().tolist())


def test_an_assumed_place_is_drawn_from_its_ranges(grounds):
    light = {"latitude": [40, 80], "longitude": [0, 360]}
    one, two = (images_of(grounds[-1], light, seed=seed) for seed in (0, 1))
    assert drawn(one) != drawn(two)


def test_the_ephemeris_gives_the_suns_of_the_centre(grounds):
    place = centre_of(grounds[-1].grid)
    track = SunTrack("IAU_MOON", ("", ""), np.array([place.lon, place.lon + 30]), np.array([-1.5, -1.5]),
                     np.full(2, 1.5e8))  # fmt: skip
    images = images_of(grounds[-1], {"place": "ephemeris"}, track=track)
    azimuth, elevation = sun_vector(place.lon, place.lat, track.lon, track.lat)
    assert_near(images, map_vectors(azimuth, elevation, place))
    with pytest.raises(ValueError, match="place: ephemeris: expected a track"):
        images_of(grounds[-1], {"place": "ephemeris"})


def test_a_place_without_a_usable_sun_is_named_before_anything_is_traced(grounds, monkeypatch):
    monkeypatch.setattr("pipeline.region.render.trace_region", None)
    with pytest.raises(
        ValueError, match=r"region\.light: no usable .* at the region's own place, lon 32\.\d+"
    ):
        images_of(grounds[1], {"place": "true"}, tolerance=0.005)


# --- missing data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pole", POLES)
def test_swaths_run_along_the_orbit_over_the_region(grounds, pole):
    """A polar orbit without slews runs along the meridian, which is a line through the map's pole."""
    masks = {"kind": "nac", "width_m": 400, "inclination_deg": 90, "azimuth_jitter_deg": 0, "seam_share": 0,
             "blocks": {"share": 0}}  # fmt: skip
    images = images_of(grounds[pole], images=60, masks=masks)
    assert images.strips.shape == (60, 14)
    valid = images.read(0, SIZE, 0, SIZE, only=range(60)).valid.numpy()
    share = valid.mean(axis=(1, 2))
    assert share.min() > 0 and share.max() < 1
    # Distance of pixels from the meridian of the centre, pixels: rows run against y.
    line = np.array([70.0, -110.0]) / np.hypot(70, 110)
    rows, cols = np.indices((SIZE, SIZE))
    across = cols * line[1] + rows * line[0]
    for kept in valid:
        low, high = across[kept].min(), across[kept].max()
        assert high - low < 400 / 20
        # Two parallel edges: all between them is kept.
        assert kept[(across > low) & (across < high)].all()
    assert valid.mean(axis=0).min() > 0.05  # every part of the region is seen


def test_windows_of_swaths_are_cuts_of_the_whole_ones(grounds):
    masks = {"kind": "nac", "width_m": [200, 900], "seam_share": 1, "seam_px": 3,
             "blocks": {"share": 1, "size_px": [3, 20]}}  # fmt: skip
    images = images_of(grounds[-1], images=12, masks=masks)
    whole = images.read(0, SIZE, 0, SIZE, only=range(12)).valid
    for row, col in ((0, 0), (5, 17), (32, 32)):
        part = images.read(row, row + 32, col, col + 32, only=range(12)).valid
        assert part.equal(whole[:, row : row + 32, col : col + 32])
    assert not whole.all(dim=0).any()


@pytest.mark.parametrize("kind", ["strip", "nac"])
def test_some_images_may_stay_whole(grounds, kind):
    masks = {"kind": kind, "share": 0.4, "width_m": 400}
    images = images_of(grounds[-1], images=200, half_width_px=8.0, masks=masks)
    valid = images.read(0, SIZE, 0, SIZE, only=range(200)).valid
    whole = float(valid.flatten(1).all(dim=1).float().mean())
    assert whole == pytest.approx(0.6, abs=0.12)


# --- far terrain ----------------------------------------------------------------------------------------

WALL_M, AWAY_PX = 600.0, 280


@pytest.fixture(scope="module")
def valley(tmp_path_factory) -> tuple[Path, object, object, Place]:
    """A plain with a ridge at its top, far above the region: folder, ground, terrain and place."""
    folder = tmp_path_factory.mktemp("valley")
    plain = np.zeros((400, 128), np.float32)
    plain[:16] = WALL_M
    terrain = make_terrain(folder, (69_000, -109_000), a=plain)
    place = Place(0, AWAY_PX, 32, SIZE)
    write_far(folder / "terrain.json", 8, folder / "far.zarr.zip")
    return folder, read_ground(terrain, place, FACTOR, 1, 16)[1], terrain, place


def far_light(**keys):
    return IlluminationSection(**{"halo_px": 16, "far_m": 6000, "far_cell_px": 8, **keys})


@pytest.mark.parametrize("sun", ["point", "disc"])
@pytest.mark.parametrize("engine", ["embree", "horizon"])
def test_a_far_ridge_casts_its_shadow_into_the_region(valley, engine, sun):
    folder, ground, _, place = valley
    # The ridge ends in row 15; its shadow under this Sun ends in the middle of the region.
    reach = (AWAY_PX + SIZE // 2 - 15) * 20.0
    suns = vectors([0.0], np.degrees(np.arctan(WALL_M / reach))).astype(np.float32)
    light = far_light(engine=engine, sun=sun)
    far = far_around(folder / "far.zarr.zip", place, light)
    shaded, alone = (
        trace_region(ground, suns, light, around).read(np.arange(1), 0, SIZE, 0, SIZE)[0]
        for around in (far, None)
    )
    assert (alone > 0.99).all()
    # The ridge's blocks are as high as it is; the mesh between blocks falls from there over a block.
    assert (shaded[: SIZE // 2 - 12] < (0.01 if sun == "point" else 0.5)).all()
    assert (shaded[SIZE // 2 + 12 :] > (0.99 if sun == "point" else 0.5)).all()
    if sun == "disc":  # the penumbra is some 30 pixels wide
        assert (np.diff(shaded, axis=0) >= 0).all()
        assert 0.2 < ((shaded > 0.01) & (shaded < 0.99)).mean() < 0.7


def test_suns_that_far_terrain_hides_from_the_whole_region_are_not_drawn(valley):
    folder, ground, _, place = valley
    # From the region's last row the ridge hides Suns up to 5.2 degrees high.
    suns = dict.fromkeys(("without", "with"))
    light = {"latitude": 85}
    for name in suns:
        illumination = far_light() if name == "with" else far_light(far_m=0)
        far = far_around(folder / "far.zarr.zip", place, far_light()) if name == "with" else None
        images = images_of(ground, light, illumination, far=far)
        azimuth, elevation = azimuth_elevation(images.suns)
        suns[name] = {(round(a), round(e)) for a, e in zip(azimuth, elevation)}
        seen = images._shadows.read(np.arange(len(images.suns)), 0, SIZE, 0, SIZE)
        assert (seen.max(axis=(1, 2)) > 0).all()
    assert suns["with"] < suns["without"]
    hidden = suns["without"] - suns["with"]
    assert (0, 5) in hidden
    assert {e for _, e in hidden} == {5}


def test_the_far_terrain_reaches_beyond_the_regions_corners(valley):
    folder, _, _, place = valley
    for far_m, sees in ((3000.0, False), (6000.0, True)):
        far = far_around(folder / "far.zarr.zip", place, far_light(far_m=far_m))
        # Row 8 is the last block of the ridge: 272 px = 5440 m above the region's first row.
        known = far.z[np.isfinite(far.z)]
        assert (known.max() == WALL_M) == sees


def test_far_terrain_that_does_not_fit_is_named(valley):
    folder, _, _, place = valley
    with pytest.raises(ValueError, match=r"illumination\.far_m = 6000: expected a store of far terrain"):
        far_around("", place, far_light())
    with pytest.raises(ValueError, match=r"illumination\.far_cell_px = 4 pixels, found 8"):
        far_around(folder / "far.zarr.zip", place, far_light(far_cell_px=4))


# --- the seed -------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(valley):
    folder, ground, _, place = valley
    light = {"place": "true", "declination": [-1.5, 1.5]}
    illumination = far_light(sun="disc", engine="horizon", limb_darkening=0.6, curvature=True)
    far = far_around(folder / "far.zarr.zip", place, illumination)
    keys = {"images": 9, "masks": {"kind": "nac", "width_m": 600}}
    bytes_of = []
    for seed in (4, 4, 5):
        images = images_of(ground, light, illumination, far=far, seed=seed, **keys)
        seen = images.read(0, SIZE, 0, SIZE, only=range(9))
        bytes_of.append(tuple(x.numpy().tobytes() for x in (seen.images, seen.valid, seen.sun)))
    assert bytes_of[0] == bytes_of[1]
    assert all(a != b for a, b in zip(bytes_of[0], bytes_of[2]))
