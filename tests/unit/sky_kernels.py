"""Small SPICE kernels written from published constants, and the positions that they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

AU_KM = 149597870.7
J2000 = np.datetime64("2000-01-01T12:00:00")

# Leap seconds since 2009 (IERS Bulletin C); TDB - TT by the usual one-term formula.
LEAP_SECONDS = """KPL/LSK
\\begindata
DELTET/DELTA_T_A = 32.184
DELTET/K = 1.657D-3
DELTET/EB = 1.671D-2
DELTET/M = ( 6.239996 1.99096871D-7 )
DELTET/DELTA_AT = ( 33, @2006-JAN-1, 34, @2009-JAN-1, 35, @2012-JUL-1, 36, @2015-JUL-1, 37, @2017-JAN-1 )
\\begintext
"""

# A Moon that turns evenly about the J2000 z axis: prime meridian at 30 degrees from the node at J2000.
EVEN_TURN = 13.17635815
EVEN_MOON = f"""KPL/PCK
\\begindata
BODY301_POLE_RA = ( 0. 0. 0. )
BODY301_POLE_DEC = ( 90. 0. 0. )
BODY301_PM = ( 30. {EVEN_TURN} 0. )
\\begintext
"""

# Orientation of the Moon: Archinal et al. 2011 (report of the IAU working group, Celest. Mech. 109, 101).
IAU_MOON = """KPL/PCK
\\begindata
BODY3_NUT_PREC_ANGLES = ( 125.045 -1935.5364525 250.089 -3871.072905 260.008 475263.3328725
  176.625 487269.629985 357.529 35999.0509575 311.589 964468.49931 134.963 477198.869325
  276.617 12006.300765 34.226 63863.5132425 15.134 -5806.6093575 119.743 131.84064
  239.961 6003.1503825 25.053 473327.79642 )
BODY301_POLE_RA = ( 269.9949 0.0031 0. )
BODY301_POLE_DEC = ( 66.5392 0.0130 0. )
BODY301_PM = ( 38.3213 13.17635815 -1.4D-12 )
BODY301_NUT_PREC_RA = ( -3.8787 -0.1204 0.0700 -0.0172 0. 0.0072 0. 0. 0. -0.0052 0. 0. 0.0043 )
BODY301_NUT_PREC_DEC = ( 1.5419 0.0239 -0.0278 0.0068 0. -0.0029 0.0009 0. 0. 0.0008 0. 0. -0.0009 )
BODY301_NUT_PREC_PM = ( 3.5610 0.1208 -0.0642 0.0158 0.0252 -0.0066 -0.0047 -0.0046 0.0028 0.0052
  0.0040 0.0019 -0.0044 )
\\begintext
"""


def tdb_seconds(utc: str) -> float:
    """Seconds past J2000, TDB to 2 ms, of a UTC time of 2009 to 2016."""
    leaps = sum(np.datetime64(utc) >= np.datetime64(day) for day in ("2012-07-01", "2015-07-01"))
    return float((np.datetime64(utc, "ms") - J2000) / np.timedelta64(1, "ms")) / 1e3 + 34 + leaps + 32.184


def circle(seconds: np.ndarray) -> np.ndarray:
    """A body on a circle of 1 au about the Sun, 30 km/s, tilted by 1.5 degrees about x: km, (n, 3)."""
    turn = seconds * 30.0 / AU_KM
    tilt = np.radians(1.5)
    y = np.sin(turn)
    return AU_KM * np.stack([np.cos(turn), y * np.cos(tilt), y * np.sin(tilt)], axis=-1)


def moon(seconds: np.ndarray) -> np.ndarray:
    """The Moon from the Sun, km in the J2000 equator, (n, 3), good to about 0.01 degrees.

    The Earth-Moon barycentre's mean Kepler orbit (Standish & Williams, *Keplerian Elements for Approximate
    Positions of the Major Planets*) and the largest terms of the Moon's motion (*Astronomical Almanac*, D22).
    """
    t = np.asarray(seconds) / (36525 * 86400.0)
    e, perihelion = 0.01671123 - 0.00004392 * t, 102.93768193 + 0.32327364 * t
    mean = np.radians(100.46457166 + 35999.37244981 * t - perihelion)
    anomaly = mean
    for _ in range(20):
        anomaly = mean + e * np.sin(anomaly)
    x, y = np.cos(anomaly) - e, np.sqrt(1 - e**2) * np.sin(anomaly)
    turn = np.radians(perihelion)
    barycentre = (
        1.00000261
        * AU_KM
        * np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), 0 * x], axis=-1)
    )

    def wave(size: float, start: float, rate: float) -> np.ndarray:
        return size * np.sin(np.radians(start + rate * t))

    lon = (
        218.32 + 481267.881 * t - 1.397 * t  # of date, turned back to J2000 by the precession
        + wave(6.29, 135.0, 477198.87) - wave(1.27, 259.3, -413335.36) + wave(0.66, 235.7, 890534.22)
        + wave(0.21, 269.9, 954397.74) - wave(0.19, 357.5, 35999.05) - wave(0.11, 186.5, 966404.03)
    )  # fmt: skip
    lat = wave(5.13, 93.3, 483202.02) + wave(0.28, 228.2, 960400.89) - wave(0.28, 318.3, 6003.15)
    lon, lat = np.radians(lon), np.radians(lat)
    geocentric = 384400.0 * np.stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1
    )
    ecliptic = barycentre + geocentric * (1 - 1 / 82.3)  # the Earth is 81.3 times as heavy
    obliquity = np.radians(23.4392911)
    x, y, z = np.moveaxis(ecliptic, -1, 0)
    return np.stack(
        [x, y * np.cos(obliquity) - z * np.sin(obliquity), y * np.sin(obliquity) + z * np.cos(obliquity)], -1
    )


def write_spk(path: Path, position: object, centre: float, days: float = 3.0) -> Path:
    """An SPK with the Sun at rest and the Moon at `position`, some days about a time (TDB seconds)."""
    import spiceypy as spice

    times = centre + np.arange(-days * 86400, days * 86400 + 1, 3600.0)
    velocity = (position(times + 30) - position(times - 30)) / 60.0  # type: ignore[operator]
    states = np.concatenate([position(times), velocity], axis=1)  # type: ignore[operator]
    handle = spice.spkopn(str(path), "test", 0)
    for body, rows in ((301, states), (10, np.zeros_like(states))):
        spice.spkw09(handle, body, 0, "J2000", times[0], times[-1], "test", 7, len(times), rows, times)
    spice.spkcls(handle)
    return path


def write_kernels(folder: Path, pck: str, position: object, utc: str) -> list[str]:
    """Leap seconds, orientation and positions about a time."""
    (folder / "leap.tls").write_text(LEAP_SECONDS)
    (folder / "moon.tpc").write_text(pck)
    write_spk(folder / "orbit.bsp", position, tdb_seconds(utc))
    return [str(folder / name) for name in ("leap.tls", "moon.tpc", "orbit.bsp")]
