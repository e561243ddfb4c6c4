"""The Sun by SPICE kernels: sub-solar points, published and in closed form, and what is made of them."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import skyfield_data
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_table import BASE, after
from shard_files import write_split, write_tile
from sky_kernels import AU_KM, EVEN_MOON, EVEN_TURN, IAU_MOON, circle, moon, tdb_seconds, write_kernels
from training_setups import bridge_stage

from pipeline.cli.sun import main as sun
from pipeline.config.arcs import ArcDraw, ArcsSection
from pipeline.config.ephemeris import EphemerisSection
from pipeline.config.root import ConfigError, load_config
from pipeline.illumination import ephemeris as e
from pipeline.illumination.arcs import select_arcs
from pipeline.illumination.directions import (
    NoUsableDirectionError,
    azimuth_elevation,
    fixed_directions,
    sun_arc,
)
from pipeline.illumination.place import Place
from pipeline.provenance import found as finding
from pipeline.provenance.plan import Plan
from pipeline.terrain.grid import Projection
from pipeline.training.bridge import training_scene

GEOD = pyproj.Geod(a=1737400, b=1737400)

# Middle of the exposure, sub-solar latitude and longitude, solar distance (km): LROC's cumulative index, PDS,
# products M1225822680LE and M104299437RE.
PUBLISHED = [
    ("2016-08-14T14:03:56.326", -0.61, 41.93, 151785545.8),
    ("2009-08-07T15:49:48.564", -0.42, 338.44, 152075935.9),
]

# Sun, planets and Moon 1899 to 2053; the package holds the file and nothing to run.
DE421 = Path(skyfield_data.__file__).parent / "data" / "de421.bsp"


def apart(a: Any, b: Any) -> Any:
    """Difference of two angles, degrees, in [-180, 180)."""
    return (np.asarray(a) - b + 180) % 360 - 180


# --- the Sun from a place -------------------------------------------------------------------------------


@settings(max_examples=200)
@given(st.floats(-180, 180), st.floats(-89.9, 89.9), st.floats(-180, 180), st.floats(-1.6, 1.6))
def test_a_sun_far_away_stands_where_the_great_circle_to_its_zenith_point_leads(lon, lat, sub_lon, sub_lat):
    azimuth, elevation = e.sun_vector(lon, lat, sub_lon, sub_lat)
    forward, _, distance = GEOD.inv(lon, lat, sub_lon, sub_lat)
    angle = np.degrees(distance / 1737400)
    assert elevation == pytest.approx(90 - angle, abs=1e-5)
    if 0.01 < angle < 179.99:
        assert apart(azimuth, forward) == pytest.approx(0, abs=1e-3)


@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180), st.floats(-1.6, 1.6))
def test_parallax_is_that_of_the_vector_from_the_surface(lon, lat, sub_lon, sub_lat):
    def unit(lon: float, lat: float) -> np.ndarray:
        lon, lat = np.radians(lon), np.radians(lat)
        return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

    distance = 1e5  # absurdly near, so that parallax is a degree
    line = distance * unit(sub_lon, sub_lat) - 1737.4 * unit(lon, lat)
    up = line @ unit(lon, lat)
    expected = np.degrees(np.arctan2(up, np.linalg.norm(line - up * unit(lon, lat))))
    assert e.sun_vector(lon, lat, sub_lon, sub_lat, distance)[1] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("lon", "lat", "lon0", "pole"), [(90, -85, 0, -1), (-33, 71, 0, 1), (10, -60, 75, -1), (170, 88, -140, 1)]
)
@pytest.mark.parametrize("declination", [-1.5, 0.3])
def test_a_day_of_sub_solar_points_is_the_arc(lon, lat, lon0, pole, declination):
    """Two ways to one path: SPICE's sub-solar points, and the published turned circle with a declination."""
    day = np.arange(360.0)
    track = e.SunTrack("MOON_ME", ("",) * 360, day, np.full(360, declination), np.full(360, np.inf))
    place = Place(lon, lat, (lon - lon0) % 360, pole)
    suns, arc = track.suns(place), sun_arc(place.map_lon, lat, declination, pole)
    assert abs(len(suns) - len(arc)) <= 1
    gap = np.sqrt(np.maximum(0, 2 - 2 * (suns @ arc.T).max(axis=1)))
    assert gap.max() < np.radians(0.5) + 1e-6  # both go in steps of a degree
    top = int(np.argmax(suns[:, 2]))
    assert azimuth_elevation(suns[top])[1] == pytest.approx(90 - abs(lat - declination), abs=0.02)


@pytest.mark.parametrize("lon0", [0.0, -75.0])
@pytest.mark.parametrize("pole", [1, -1])
def test_map_vectors_point_along_the_map(lon0, pole):
    """A step towards the Sun on the ground, projected by PROJ, has the vector's direction on the map."""
    crs = f"+proj=stere +lat_0={90 * pole} +lat_ts={90 * pole} +lon_0={lon0} +R=1737400 +no_defs"
    to_map = pyproj.Transformer.from_crs("+proj=longlat +R=1737400 +no_defs", crs, always_xy=True)
    for lon in (-130.0, 0.0, 90.0, 155.0):
        place = Place(lon, 83.0 * pole, (lon - lon0) % 360, pole)
        azimuth, elevation = e.sun_vector(lon, place.lat, 30.0, 1.0 * pole)
        end = GEOD.fwd(lon, place.lat, float(azimuth), 10.0)
        x, y = to_map.transform([lon, end[0]], [place.lat, end[1]])
        vector = e.map_vectors(azimuth, elevation, place)
        assert apart(np.degrees(np.arctan2(x[1] - x[0], y[1] - y[0])), azimuth_elevation(vector)[0]) == (
            pytest.approx(0, abs=2e-3)
        )
        assert np.degrees(np.arcsin(vector[2])) == pytest.approx(float(elevation))


# --- kernels --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Kernels of a Moon that goes evenly around the Sun and turns evenly."""
    pytest.importorskip("spiceypy")
    return write_kernels(tmp_path_factory.mktemp("even"), EVEN_MOON, circle, "2010-05-01")


def test_the_sub_solar_point_of_an_even_orbit_is_the_closed_form(even: list[str]) -> None:
    track = e.subsolar_track(even, "2010-05-01T06:00:00Z", "2010-05-02", 1.5)
    assert track.frame == "IAU_MOON"
    assert len(track.utc) == 13
    assert (track.utc[0], track.utc[-1]) == ("2010-05-01T06:00:00.000", "2010-05-02T00:00:00.000")
    seconds = np.array([tdb_seconds(utc) for utc in track.utc])
    towards = -circle(seconds) / AU_KM
    # The observer's 30 km/s carry the Sun forward (classical aberration).
    velocity = (circle(seconds + 1) - circle(seconds - 1)) / 2
    towards = towards + velocity / 299792.458
    x, y, z = towards.T
    # The prime meridian: east of the node (right ascension 90) by 30 degrees and the turn since J2000.
    lon = np.degrees(np.arctan2(y, x)) - 90 - 30 - EVEN_TURN * seconds / 86400
    np.testing.assert_allclose(apart(track.lon, lon), 0, atol=2e-6)
    np.testing.assert_allclose(track.lat, np.degrees(np.arctan2(z, np.hypot(x, y))), atol=2e-6)
    np.testing.assert_allclose(track.distance_km, AU_KM, rtol=1e-7)
    # Without aberration the point would be 0.0057 degrees away: the test would see it.
    assert np.degrees(30 / 299792.458) > 0.005


@pytest.mark.parametrize(("utc", "lat", "lon", "distance"), PUBLISHED)
def test_published_sub_solar_points_from_orbital_elements(
    utc: str, lat: float, lon: float, distance: float, tmp_path: Path
) -> None:
    """No ephemeris file: Kepler's orbit, a dozen terms of the Moon, the IAU's orientation."""
    pytest.importorskip("spiceypy")
    kernels = write_kernels(tmp_path, IAU_MOON, moon, utc)
    track = e.subsolar_track(kernels, utc, utc, 1)
    assert apart(track.lon[0], lon) == pytest.approx(0, abs=0.02)
    assert track.lat[0] == pytest.approx(lat, abs=0.02)
    assert track.distance_km[0] == pytest.approx(distance, rel=2e-4)


@pytest.mark.parametrize(("utc", "lat", "lon", "distance"), PUBLISHED)
@pytest.mark.parametrize("frame", ["MOON_ME", "IAU_MOON"])
def test_published_sub_solar_points_from_jpl_kernels(
    utc: str, lat: float, lon: float, distance: float, frame: str, shared_data: Path
) -> None:
    """To what the catalogue prints: half a hundredth of a degree, 0.1 km."""
    pytest.importorskip("spiceypy")
    names = ["naif0012.tls", "pck00010.tpc"]
    names += ["moon_pa_de421_1900-2050.bpc", "moon_080317.tf"] if frame == "MOON_ME" else []
    kernels = [shared_data / "kernels" / name for name in names]
    track = e.subsolar_track([*kernels, DE421], utc, utc, 1)
    assert track.frame == frame
    assert apart(track.lon[0], lon) == pytest.approx(0, abs=0.0055)
    assert track.lat[0] == pytest.approx(lat, abs=0.0055)
    assert track.distance_km[0] == pytest.approx(distance, abs=0.1)


@pytest.mark.parametrize(("utc", "lat", "lon", "distance"), PUBLISHED)
def test_published_sub_solar_points_from_a_jpl_ephemeris_alone(
    utc: str, lat: float, lon: float, distance: float, tmp_path: Path
) -> None:
    """As above; leap seconds and the IAU's orientation are written from published numbers."""
    pytest.importorskip("spiceypy")
    written = write_kernels(tmp_path, IAU_MOON, moon, utc)[:2]
    track = e.subsolar_track([*written, str(DE421)], utc, utc, 1)
    assert apart(track.lon[0], lon) == pytest.approx(0, abs=0.0055)
    assert track.lat[0] == pytest.approx(lat, abs=0.0055)
    assert track.distance_km[0] == pytest.approx(distance, abs=0.1)


def test_a_track_is_stored_and_read_back(even: list[str], tmp_path: Path) -> None:
    section = EphemerisSection(kernels=["x"], start="2010-05-01", stop="2010-05-02", step_hours=6)
    for name in ("a", "b"):
        e.write_track(even, section, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found, track = e.read_track(tmp_path / "a"), e.subsolar_track(even, "2010-05-01", "2010-05-02", 6)
    assert (found.frame, found.utc) == (track.frame, track.utc)
    np.testing.assert_allclose(found.lon, track.lon, atol=1e-9)
    np.testing.assert_allclose(found.distance_km, track.distance_km, atol=1e-6)
    (tmp_path / "c").write_text('{"schema": "arcs/1"}')
    with pytest.raises(ValueError, match=r"c: expected schema 'suntrack/1', found 'arcs/1'"):
        e.read_track(tmp_path / "c")


def test_kernels_loaded_before_stay_and_do_not_mix_in(even: list[str]) -> None:
    spice = pytest.importorskip("spiceypy")
    with spice.KernelPool(even[:1]):
        with pytest.raises(ValueError, match="NOLEAPSECONDS"):
            e.subsolar_track(even[1:], "2010-05-01", "2010-05-01", 1)
        assert [spice.kdata(i, "ALL")[0] for i in range(spice.ktotal("ALL"))] == even[:1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k[1:], r"ephemeris\.kernels \(moon\.tpc, orbit\.bsp\): .*NOLEAPSECONDS"),
        (lambda k: k[:2], r"ephemeris\.kernels \(leap\.tls, moon\.tpc\): .*found SPICE\("),
        (lambda k: [k[0], k[2]], r"a text PCK .*MOON_ME, found none in leap\.tls, orbit\.bsp"),
        (lambda k: [*k, "gone.bsp"], r"expected a file, found none at 'gone\.bsp'"),
        (lambda k: [], r"ephemeris\.kernels: expected SPICE kernels, found none"),
    ],
)
def test_kernels_that_do_not_do_are_named(even: list[str], change: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        e.subsolar_track(change(even), "2010-05-01", "2010-05-02", 6)


def test_times_that_kernels_do_not_cover_are_an_error(even: list[str]) -> None:
    with pytest.raises(ValueError, match=r"orbit\.bsp\): .*INSUFFDATA.* 2010 JUN"):
        e.subsolar_track(even, "2010-06-01", "2010-06-02", 6)


def test_files_that_are_no_kernels_are_an_error(even: list[str], tmp_path: Path) -> None:
    meta, broken = tmp_path / "all.tm", tmp_path / "broken.bsp"
    meta.write_text(f"KPL/MK\n\\begindata\nKERNELS_TO_LOAD = ( '{even[0]}' )\n\\begintext\n")
    with pytest.raises(ValueError, match=r"all\.tm: .*found a meta-kernel"):
        e.subsolar_track([str(meta)], "2010-05-01", "2010-05-01", 1)
    broken.write_bytes(Path(even[2]).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"broken\.bsp: expected a SPICE kernel, found SPICE\("):
        e.subsolar_track([even[0], str(broken)], "2010-05-01", "2010-05-01", 1)


def test_a_leap_second_within_the_track_changes_no_time(even: list[str], tmp_path: Path) -> None:
    kernels = write_kernels(tmp_path, EVEN_MOON, circle, "2012-07-01")
    track = e.subsolar_track(kernels, "2012-06-30T12:00:00", "2012-07-01T12:00:00", 12)
    assert [utc[:16] for utc in track.utc] == ["2012-06-30T12:00", "2012-07-01T00:00", "2012-07-01T12:00"]
    # The half day before midnight is a second longer, in which the Moon turns by 0.00015 degrees.
    first, second = -apart(np.diff(track.lon), 0)
    assert first - second == pytest.approx((EVEN_TURN - 360 / 366) / 86400, rel=0.1)


def test_without_spice_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "spiceypy", None)
    with pytest.raises(
        ValueError, match=r'found no package spiceypy; install it with `pip install "lunar-bridge'
    ):
        e.subsolar_track(["k"], "2010-05-01", "2010-05-01", 1)

    def lost(name: str) -> str:
        raise finding.importlib.metadata.PackageNotFoundError(name)

    (tmp_path / "k").write_text("k")
    versions = finding.versions()
    monkeypatch.setattr(finding, "versions", lambda: versions)
    monkeypatch.setattr(finding.importlib.metadata, "version", lost)
    with pytest.raises(ConfigError, match=r"place: ephemeris: .*found no package spiceypy; install it with"):
        Plan(load_config(with_track(["k"])), tmp_path)


# --- the command ----------------------------------------------------------------------------------------


def test_the_command_prints_the_sun_of_a_place(even: list[str], capsys: pytest.CaptureFixture) -> None:
    track = e.subsolar_track(even, "2010-05-01T06:00:00", "2010-05-01T06:00:00", 1)
    lon = float(track.lon[0])
    # On the Sun's meridian in the far south: the Sun is due north.
    arguments = ["--kernels", *even, "--utc", "2010-05-01T06:00:00", f"--lon={lon}", "--lat=-85"]
    assert sun([*arguments, "--central-meridian=10"]) == 0
    printed = capsys.readouterr().out
    found = {line[:21].strip(): float(line[21:].split()[0]) for line in printed.splitlines()[1:]}
    assert apart(found["sub-solar longitude"], lon) == pytest.approx(0, abs=1e-4)
    assert found["sub-solar latitude"] == pytest.approx(float(track.lat[0]), abs=1e-4)
    assert apart(found["local azimuth"], 0) == pytest.approx(0, abs=1e-3)
    assert found["elevation"] == pytest.approx(90 - 85 - float(track.lat[0]), abs=2e-3)
    assert apart(found["map azimuth"], lon - 10) == pytest.approx(0, abs=1e-3)
    assert "south polar map" in printed


def test_the_commands_mistakes_are_one_line(even: list[str], capsys: pytest.CaptureFixture) -> None:
    assert sun(["--kernels", *even, "--utc", "yesterday", "--lon", "0", "--lat", "0"]) == 1
    assert capsys.readouterr().err == (
        "error: expected an ISO date or time in UTC, like 2010-01-01T12:30:00, found 'yesterday'\n"
    )


# --- the stages -----------------------------------------------------------------------------------------


@pytest.fixture
def southern(tmp_path: Path) -> dict[str, Path]:
    """Inputs of the stage `arcs` for four southern patches on a map of central meridian 40 E, and a track."""
    lon, lat = np.array([-150.0, -40, 90, 40]), np.array([-85.0, -80, -88, -90])
    x, y = Projection(-1, 40.0, 1737400.0, 1.0).xy(lon, lat)
    places = {"lon": lon, "lat": lat, "x0": x, "y0": y, "pole": np.full(4, -1)}
    tile = write_tile(tmp_path, count=4, places=places)
    entries = [{"id": int(i), "kept": True} for i in tile.ids]
    selected = tmp_path / "selected.json"
    selected.write_text(json.dumps({"schema": "selected/1", "patches": entries}))
    track = tmp_path / "track.json"
    day = np.arange(0.0, 360.0, 3.0)
    table = {"lon": day.tolist(), "lat": [-1.2] * 120, "distance_km": [1.5e8] * 120, "utc": ["2010"] * 120}
    track.write_text(json.dumps({"schema": "suntrack/1", "frame": "MOON_ME", **table}))
    split = write_split(tmp_path, {int(i): "test" for i in tile.ids})
    return {
        "selected": selected,
        "split": split,
        "light": tile.visibility,
        "patches": tile.patches,
        "track": track,
    }


def select(files: dict[str, Path], draw: ArcDraw, patches: bool = True, track: bool = True) -> dict[str, Any]:
    out = files["selected"].with_name("arcs.json")
    given = [[files[name]] if wanted else [] for name, wanted in (("patches", patches), ("track", track))]
    arcs = ArcsSection(test={"main": draw})
    select_arcs(files["selected"], files["split"], files["light"], arcs, out, *given)
    return json.loads(out.read_text())["draws"]["main"]


def test_the_stage_takes_the_patches_own_places(southern: dict[str, Path]) -> None:
    found = select(southern, ArcDraw(place="ephemeris", images={"low": 9, "high": 9}))
    assert [found[i]["lat"] for i in "0123"] == [-85, -80, -88, -90]
    np.testing.assert_allclose([found[i]["lon"] for i in "012"], [170, 280, 50], atol=1e-9)
    suns = e.read_track(southern["track"])
    for i, (lon, lat) in zip("012", ((-150, -85), (-40, -80), (90, -88))):
        seen = suns.suns(Place(lon, lat, (lon - 40) % 360, -1))
        chosen = fixed_directions()[found[i]["images"]]
        assert (np.sqrt(2 - 2 * (chosen @ seen.T).max(axis=1)) < 0.1).all()
    # At the pole the Sun of 1.2 degrees never sets.
    assert set(found["3"]["images"]) <= set(range(72))


def test_the_stage_names_a_patch_without_a_sun(southern: dict[str, Path]) -> None:
    message = r"arcs\.test\.main: patch 3: no usable .* own place, lon 40\.0000, lat -90\.0000, with declin"
    with pytest.raises(NoUsableDirectionError, match=message):
        select(southern, ArcDraw(place="true"))
    with pytest.raises(ValueError, match="expected the patch's place, found none"):
        select(southern, ArcDraw(place="ephemeris"), patches=False)
    with pytest.raises(ValueError, match=r"expected a track \(schema suntrack/1\), found none"):
        select(southern, ArcDraw(place="ephemeris"), track=False)


def test_assumed_places_do_not_see_the_patches(southern: dict[str, Path]) -> None:
    assert select(southern, ArcDraw()) == select(southern, ArcDraw(), patches=False, track=False)


def test_a_training_reads_the_track(southern: dict[str, Path]) -> None:
    plain = bridge_stage({}, "arcs")
    assert plain.arcs is not None
    arcs = plain.arcs.model_copy(update={"train": ArcDraw(place="ephemeris")})
    scene: Any = training_scene(plain.model_copy(update={"arcs": arcs}), [str(southern["track"])])
    assert scene.track.frame == "MOON_ME" and len(scene.track.lon) == 120


# --- configuration and keys -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"start": "1 May 2010"}, r"start: expected an ISO date or time in UTC.*found '1 May 2010'"),
        ({"stop": "2010-05-01T00:00:00+02:00"}, r"stop: expected .*another time zone"),
        ({"start": "2012-01-01"}, r"stop: expected a time from start = 2012-01-01 on, found 2011-01-01"),
        ({"step_hours": 0.1}, r"step_hours: expected at most 20000 times .*found 87601"),
        ({"step_hours": 0}, r"step_hours"),
        ({"kernels": ["a", "a"]}, r"kernels: expected each file once"),
    ],
)
def test_mistakes_in_the_section_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config({**copy.deepcopy(BASE), "ephemeris": keys})


def with_track(kernels: list[str], train: bool = True, test: bool = True) -> dict[str, Any]:
    """The tiny config with ephemeris arcs."""
    config = copy.deepcopy(BASE)
    config["ephemeris"]["kernels"] = kernels
    for wanted, draw in ((train, config["arcs"]["train"]), (test, config["arcs"]["test"]["main"])):
        if wanted:
            draw |= {"place": "ephemeris", "latitude": [0, 90], "longitude": [0, 360]}
    return config


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Plan]:
    """Plans in a folder with two files that stand for kernels; finding looks at bytes alone."""
    monkeypatch.setattr(finding, "spice_version", lambda: "1.0")
    (tmp_path / "a.bsp").write_text("orbits")
    (tmp_path / "b.tls").write_text("leap seconds")
    return lambda config: Plan(load_config(config), tmp_path)


def test_arcs_without_kernels_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"ephemeris\.kernels: expected SPICE kernels for arcs\.test\.main\.place"
    ):
        load_config(with_track([], train=False))


def test_the_track_is_a_stage_of_those_who_read_it(planned: Callable) -> None:
    assert planned(copy.deepcopy(BASE)).track is None
    readers = {}
    for train, test in ((True, False), (False, True), (True, True)):
        plan = planned(with_track(["a.bsp", "b.tls"], train, test))
        assert plan.track == plan["ephemeris"].folder + "/track.json"
        readers[train, test] = {n for n, stage in plan.stages.items() if "ephemeris" in stage.inputs}
    trained = {f"{s}_{b}" for s in ("published", "bridge") for b in ("arcs", "missing")}
    lit = {"arcs", *(f"calibration_bridge_{b}" for b in ("fibonacci", "arcs", "missing"))}
    assert readers == {(True, False): trained, (False, True): lit, (True, True): {*lit, *trained}}
    region = copy.deepcopy(BASE)
    region["region"]["light"]["place"], region["ephemeris"]["kernels"] = "ephemeris", ["a.bsp", "b.tls"]
    assert {n for n, stage in planned(region).stages.items() if "ephemeris" in stage.inputs} == {"region"}


def test_kernels_count_by_their_bytes_and_order(planned: Callable, tmp_path: Path) -> None:
    base = planned(with_track(["a.bsp", "b.tls"]))

    def moved(config: dict[str, Any]) -> set[str]:
        return {name for name, stage in planned(config).stages.items() if stage.key != base[name].key}

    trained = [f"{s}_{b}" for s in ("published", "bridge") for b in ("arcs", "missing")]
    everything = {"ephemeris", "calibration_bridge_fibonacci", *after("arcs", *trained)}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.bsp").write_text("orbits")
    assert moved(with_track(["elsewhere/c.bsp", "b.tls"])) == {"report", "bundle"}
    assert moved(with_track(["b.tls", "a.bsp"])) == everything
    later = with_track(["a.bsp", "b.tls"])
    later["ephemeris"]["start"] = "2010-02-01"
    assert moved(later) == everything
    (tmp_path / "a.bsp").write_text("other orbits")
    assert moved(with_track(["a.bsp", "b.tls"])) == everything
    with pytest.raises(ConfigError, match=r"ephemeris\.kernels: expected a file, found no file 'c\.bsp'"):
        planned(with_track(["c.bsp"]))


def test_the_workflow_makes_the_track_where_it_is_read(tmp_path: Path, snakemake: Callable) -> None:
    pytest.importorskip("spiceypy")
    root = Path(__file__).resolve().parents[3]
    (tmp_path / "config").symlink_to(root / "config")
    (tmp_path / "a.bsp").write_text("orbits")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(with_track(["a.bsp"])))
    done = snakemake(tmp_path, "-n", "bridge", "--configfile", "mine.yaml")
    assert done.returncode == 0, done.text
    assert done.jobs["ephemeris"] == 1
    plan = Plan(load_config(with_track(["a.bsp"])), tmp_path)
    # Both trainings' second and third stages read it; the miniature's stage `arcs` is not asked for here.
    assert done.text.count(f"{plan.track}") >= 4
