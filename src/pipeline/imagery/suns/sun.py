"""The Sun of one image: its direction from the Moon's centre, and azimuth and elevation at a place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.config.base import unlike
from pipeline.illumination.ephemeris import MOON_RADIUS_KM, sun_vector

Floats = NDArray[np.float64]

# The Moon's equator is inclined by 1.54 deg to the ecliptic; libration and the rounding of tables add to it.
LARGEST_LATITUDE_DEG = 1.7
# Distance from the Moon to the Sun: 1 AU, varied by the Earth's eccentricity and the Moon's distance.
DISTANCE_KM = (1.46e8, 1.53e8)


@dataclass(frozen=True, slots=True)
class Sun:
    """The Sun as it appears from the Moon's centre.

    Attributes
    ----------
    x, y, z : unit vector in the Moon's body-fixed frame (mean Earth, east longitudes).
    source : where it was found, for messages.
    distance_km : from the Moon's centre to the Sun; inf where unknown.

    Raises
    ------
    ValueError
        If the vector is not of unit length to 1e-6, or the distance is not positive.
    """

    x: float
    y: float
    z: float
    source: str
    distance_km: float = math.inf

    def __post_init__(self) -> None:
        length = math.hypot(self.x, self.y, self.z)
        # Written so that NaN is refused too.
        if not abs(length - 1) < 1e-6:
            raise ValueError(unlike("Sun", "a unit vector", f"({self.x}, {self.y}, {self.z})"))
        if not self.distance_km > 0:
            raise ValueError(unlike("distance_km", "> 0", self.distance_km))

    @classmethod
    def from_subsolar(cls, lon: float, lat: float, source: str, distance_km: float = math.inf) -> Sun:
        """The Sun over a sub-solar point, degrees east and north.

        Raises
        ------
        ValueError
            If the longitude is not finite or the latitude is not within [-90, 90].
        """
        _check_place(lon, lat, "the sub-solar point")
        east, north = math.radians(lon), math.radians(lat)
        across = math.cos(north)
        return cls(across * math.cos(east), across * math.sin(east), math.sin(north), source, distance_km)

    @classmethod
    def from_position(cls, x: float, y: float, z: float, source: str) -> Sun:
        """The Sun at a body-fixed position, metres from the Moon's centre.

        Raises
        ------
        ValueError
            If the distance is not that of the Sun, for instance in kilometres, or of a camera.
        """
        length = math.hypot(x, y, z)
        low, high = DISTANCE_KM
        if not low <= length / 1000 <= high:
            expected = f"a position {low * 1000:.3g} to {high * 1000:.3g} m from the Moon's centre"
            raise ValueError(
                unlike("the Sun", expected, f"({x:g}, {y:g}, {z:g}), which is {length:.3g} m away")
            )
        return cls(x / length, y / length, z / length, source, length / 1000)

    @classmethod
    def from_local(
        cls,
        azimuth_deg: float,
        elevation_deg: float,
        lon: float,
        lat: float,
        source: str,
        distance_km: float = math.inf,
    ) -> Sun:
        """The Sun at an azimuth and elevation as seen from a place: the inverse of `sun_vector`.

        Parameters
        ----------
        azimuth_deg : clockwise from true north; at a pole, from the limit of north along the meridian `lon`.
        elevation_deg : above the mathematical horizon of the sphere.
        lon, lat : place, degrees.
        source : where it was found. distance_km : of the Sun from the Moon's centre; corrects for parallax.

        Raises
        ------
        ValueError
            If an angle is not finite, or a latitude or elevation is not within [-90, 90].
        """
        _check_place(lon, lat, "the place")
        _check_place(azimuth_deg, elevation_deg, "the Sun's azimuth and elevation", "elevation")
        east, north = math.radians(lon), math.radians(lat)
        azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
        to_east = np.array([-math.sin(east), math.cos(east), 0.0])
        to_north = np.array(
            [-math.sin(north) * math.cos(east), -math.sin(north) * math.sin(east), math.cos(north)]
        )
        outward = np.cross(to_east, to_north)
        level = math.cos(elevation)
        sight = level * (math.sin(azimuth) * to_east + math.cos(azimuth) * to_north)
        sight = sight + math.sin(elevation) * outward
        if math.isfinite(distance_km):
            # The Sun's position is the sum of radius and line of sight, in units of the distance.
            radius = MOON_RADIUS_KM / distance_km
            rise = radius * math.sin(elevation)
            sight = radius * outward + (math.sqrt(1 - radius**2 + rise**2) - rise) * sight
        sight = sight / np.linalg.norm(sight)
        return cls(float(sight[0]), float(sight[1]), float(sight[2]), source, distance_km)

    @property
    def subsolar(self) -> tuple[float, float]:
        """Longitude in [0, 360) and latitude of the sub-solar point, degrees east and north."""
        lon = math.degrees(math.atan2(self.y, self.x)) % 360.0 % 360.0
        return lon, math.degrees(math.atan2(self.z, math.hypot(self.x, self.y)))

    @property
    def possible(self) -> bool:
        """Whether the sub-solar latitude is possible: within 1.7 deg of the Moon's equator."""
        return abs(self.subsolar[1]) <= LARGEST_LATITUDE_DEG

    def seen_from(self, lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
        """Azimuth clockwise from true north in [0, 360) and elevation, degrees, at places on the sphere.

        Parameters
        ----------
        lon, lat : degrees, broadcastable; their common shape is that of the results. See `sun_vector`.
        """
        return sun_vector(lon, lat, *self.subsolar, self.distance_km)

    def separation_deg(self, other: Sun) -> float:
        """Angle between two Suns as they appear from the Moon's centre, degrees."""
        along = self.x * other.x + self.y * other.y + self.z * other.z
        across = math.hypot(
            self.y * other.z - self.z * other.y,
            self.z * other.x - self.x * other.z,
            self.x * other.y - self.y * other.x,
        )
        # The arc cosine would lose angles below 1e-6 deg.
        return math.degrees(math.atan2(across, along))

    def described(self) -> str:
        """The sub-solar point as text for messages."""
        lon, lat = self.subsolar
        return f"sub-solar longitude {lon:.3f}, latitude {lat:.3f} deg"


def checked(sun: Sun) -> Sun:
    """The Sun, after a check that it is possible over the Moon; raises ValueError if not."""
    if not sun.possible:
        expected = f"a sub-solar latitude within {LARGEST_LATITUDE_DEG:g} deg of the Moon's equator"
        raise ValueError(unlike("the Sun", expected, f"{sun.subsolar[1]:.3f} deg"))
    return sun


def _check_place(lon: float, lat: float, what: str, name: str = "latitude") -> None:
    if not math.isfinite(lon) or not -90 <= lat <= 90:
        raise ValueError(unlike(what, f"finite degrees and a {name} within [-90, 90]", f"({lon}, {lat})"))
