"""Stage ``ephemeris``: sub-solar points from SPICE kernels; and the Sun's direction at a place.

SPICE (Acton 1996, *Ancillary data services of NASA's Navigation and Ancillary Information Facility*) gives
the Sun's position in the Moon's body-fixed frame. The sub-solar point is the direction of the Sun as it
appears from the Moon's centre, corrected for light time and stellar aberration, as in published catalogues of
lunar images.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.config.ephemeris import parse_utc
from pipeline.illumination.directions import local_to_map_azimuth, vectors
from pipeline.illumination.place import Place
from pipeline.storage.atomic import read_json, write_json

if TYPE_CHECKING:
    from pipeline.config.arcs import ArcDraw
    from pipeline.config.ephemeris import EphemerisSection

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

SCHEMA = "suntrack/1"
MOON_RADIUS_KM = 1737.4
# The mean Earth / mean rotation axis frame of LOLA's maps; IAU_MOON approximates it to about 150 m.
PRECISE_FRAME, TEXT_FRAME = "MOON_ME", "IAU_MOON"
_MOON = 301


@dataclass(frozen=True)
class SunTrack:
    """Sub-solar points at a series of times.

    Attributes
    ----------
    frame : the Moon's body-fixed frame.
    utc : times ``(n,)``, ISO.
    lon, lat : of the sub-solar point, degrees east and north, ``(n,)``.
    distance_km : from the Moon's centre to the Sun, ``(n,)``.
    """

    frame: str
    utc: tuple[str, ...]
    lon: Floats
    lat: Floats
    distance_km: Floats

    def suns(self, place: Place) -> Floats:
        """The track's Suns above the mathematical horizon of a place, unit vectors ``(m, 3)``, map frame."""
        azimuth, elevation = sun_vector(place.lon, place.lat, self.lon, self.lat, self.distance_km)
        up = elevation > 0
        return map_vectors(azimuth[up], elevation[up], place)


def sun_vector(
    lon_deg: ArrayLike,
    lat_deg: ArrayLike,
    subsolar_lon_deg: ArrayLike,
    subsolar_lat_deg: ArrayLike,
    distance_km: ArrayLike = np.inf,
) -> tuple[Floats, Floats]:
    """Azimuth and elevation of the Sun at a place on the sphere, parallax included.

    Parameters
    ----------
    lon_deg, lat_deg : place, degrees. subsolar_lon_deg, subsolar_lat_deg : sub-solar point, degrees.
    distance_km : from the Moon's centre to the Sun. All broadcastable.

    Returns
    -------
    Azimuth clockwise from true north, in [0, 360), and elevation, degrees. At a pole, north is its limit
    along the given meridian.
    """
    lat, sub = np.radians(lat_deg), np.radians(subsolar_lat_deg)
    hour = np.radians(np.asarray(subsolar_lon_deg, dtype=np.float64) - np.asarray(lon_deg, dtype=np.float64))
    # Local east, north and up of the unit vector from the Moon's centre to the Sun.
    east = np.cos(sub) * np.sin(hour)
    north = np.cos(lat) * np.sin(sub) - np.sin(lat) * np.cos(sub) * np.cos(hour)
    up = np.sin(lat) * np.sin(sub) + np.cos(lat) * np.cos(sub) * np.cos(hour)
    # Seen from the surface, one radius higher.
    up = up - MOON_RADIUS_KM / np.asarray(distance_km, dtype=np.float64)
    azimuth = np.degrees(np.arctan2(east, north)) % 360.0 % 360.0
    return azimuth, np.degrees(np.arctan2(up, np.hypot(east, north)))


def own_suns(draw: ArcDraw, place: Place | None, track: SunTrack | None) -> Floats | None:
    """Suns above a patch's horizon where a draw's place is ``ephemeris``: unit vectors ``(m, 3)``, map frame.

    None for other draws.

    Raises
    ------
    ValueError
        If the draw needs a place or a track that is not given.
    """
    if draw.place != "ephemeris":
        return None
    if place is None or track is None:
        missing = "the patch's place" if place is None else f"a track (schema {SCHEMA})"
        raise ValueError(f"place: ephemeris: expected {missing}, found none")
    return track.suns(place)


def map_vectors(azimuth_deg: ArrayLike, elevation_deg: ArrayLike, place: Place) -> Floats:
    """Unit vectors ``(..., 3)`` in the map frame of azimuths from true north and elevations, degrees."""
    pole = cast("Literal[1, -1]", place.pole)
    return vectors(local_to_map_azimuth(azimuth_deg, place.map_lon, pole), elevation_deg)


def subsolar_track(kernels: Sequence[Path | str], start: str, stop: str, step_hours: float) -> SunTrack:
    """Sub-solar points from `start` until at most `stop`.

    The frame is MOON_ME where its frame kernel and a binary PCK are among the kernels, else IAU_MOON.

    Parameters
    ----------
    kernels : SPICE kernel files; later ones override earlier ones.
    start, stop : ISO, UTC. step_hours : hours between two times.

    Raises
    ------
    ValueError
        If SPICE is not installed, a kernel is no usable file, or the kernels do not cover one of the times.
    """
    first, step = parse_utc(start), timedelta(hours=step_hours)
    count = int((parse_utc(stop) - first) / step + 1e-9) + 1
    return subsolar_at(kernels, [first + k * step for k in range(count)])


def subsolar_at(kernels: Sequence[Path | str], times: Sequence[datetime]) -> SunTrack:
    """Sub-solar points at any times, UTC, in the order given; frame and errors as in `subsolar_track`."""
    utc = tuple(time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] for time in times)
    names = ", ".join(Path(kernel).name for kernel in kernels)
    with _loaded(kernels) as spice, _explained(spice, f"ephemeris.kernels ({names})"):
        frame = _moon_frame(spice, names)
        # Apparent position from the Moon's centre: light time and stellar aberration.
        found = [spice.spkpos("SUN", spice.str2et(t), frame, "LT+S", "MOON")[0] for t in utc]
    position = np.array(found, dtype=np.float64).reshape(-1, 3)
    x, y, z = position.T
    lon, lat = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    return SunTrack(frame, utc, lon, lat, np.linalg.norm(position, axis=1))


def write_track(kernels: Sequence[Path | str], section: EphemerisSection, out: Path | str) -> None:
    """Write the track of a config as JSON of schema ``suntrack/1``; raises as `subsolar_track`.

    Numbers are rounded to 1e-9 degrees and a millimetre.
    """
    track = subsolar_track(kernels, section.start, section.stop, section.step_hours)
    logger.info(
        "%d sub-solar points in %s, %s to %s", len(track.utc), track.frame, track.utc[0], track.utc[-1]
    )
    table = {"lon": track.lon.round(9).tolist(), "lat": track.lat.round(9).tolist()}
    table["distance_km"] = track.distance_km.round(6).tolist()
    write_json(out, {"schema": SCHEMA, "frame": track.frame, "utc": list(track.utc), **table})


def read_track(path: Path | str) -> SunTrack:
    """Read a track; raises ValueError if the file is not of schema ``suntrack/1``."""
    table = read_json(Path(path), schema=SCHEMA)
    lon, lat, distance = (np.array(table[name], dtype=np.float64) for name in ("lon", "lat", "distance_km"))
    return SunTrack(table["frame"], tuple(table["utc"]), lon, lat, distance)


def _spice() -> Any:
    """The SPICE library, which is an optional extra."""
    try:
        import spiceypy
    except ImportError:
        raise ValueError(
            "place: ephemeris: expected SPICE, found no package spiceypy; install it with "
            '`pip install "lunar-bridge[ephemeris]"` (or `pip install spiceypy`)'
        ) from None
    return spiceypy


@contextmanager
def _loaded(kernels: Sequence[Path | str]) -> Iterator[Any]:
    """SPICE with these kernels only; kernels loaded before are loaded again afterwards."""
    spice = _spice()
    if not kernels:
        raise ValueError("ephemeris.kernels: expected SPICE kernels, found none")
    for kernel in kernels:
        path = Path(kernel)
        if not path.is_file():
            raise ValueError(f"ephemeris.kernels: expected a file, found none at {str(kernel)!r}")
        # The digest of a meta-kernel's bytes does not cover the kernels that it loads.
        with path.open("rb") as stream:
            if stream.read(6) == b"KPL/MK":
                raise ValueError(
                    f"{kernel}: expected a kernel with data, found a meta-kernel; list the kernels it names"
                )
    error = spice.utils.exceptions.SpiceyError
    with spice.KernelPool([]):
        try:
            for kernel in kernels:
                try:
                    spice.furnsh(str(kernel))
                except error as found:
                    raise ValueError(f"{kernel}: expected a SPICE kernel, found {_short(found)}") from None
            yield spice
        finally:
            spice.kclear()


@contextmanager
def _explained(spice: Any, what: str) -> Iterator[None]:
    """Turn SPICE's errors into one sentence."""
    try:
        yield
    except spice.utils.exceptions.SpiceyError as error:
        raise ValueError(
            f"{what}: expected leap seconds, the Sun, the Moon and its orientation at all times, found "
            f"{_short(error)}"
        ) from None


def _short(error: Exception) -> str:
    """SPICE's short and long message without its traceback."""
    words = [getattr(error, name, "") for name in ("short", "explain", "long")]
    return " ".join(" ".join(word.split()) for word in words if word) or str(error).strip()


def _moon_frame(spice: Any, names: str) -> str:
    """The best body-fixed frame of the Moon that the loaded kernels give."""
    if spice.namfrm(PRECISE_FRAME) and spice.ktotal("PCK"):
        return PRECISE_FRAME
    if spice.bodfnd(_MOON, "POLE_RA"):
        return TEXT_FRAME
    raise ValueError(
        "ephemeris.kernels: expected the Moon's orientation, a text PCK (pck00010.tpc) or a binary PCK with "
        f"the frame kernel that defines {PRECISE_FRAME}, found none in {names}"
    )
