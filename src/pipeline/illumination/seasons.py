"""Realistic Suns: at random hours of random seasons, as seen from a latitude."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.config.scenes import SceneSuns
from pipeline.illumination.ephemeris import map_vectors, sun_vector
from pipeline.illumination.place import Place

_CANDIDATES = 256  # drawn at once
_TRIES = 400
_WINDOW_DEG = (60.0, 180.0)


class Seasons:
    """The Suns of one image set: its place and, where the Suns lie on one side, their range of azimuths.

    Parameters
    ----------
    suns : distribution of the Suns.
    own : the patch's place.
    rng : source of all draws.

    Raises
    ------
    ValueError
        If the Sun hardly ever, or never, stands within the elevations at the place.
    """

    def __init__(self, suns: SceneSuns, own: Place, rng: np.random.Generator) -> None:
        self._suns, self._rng = suns, rng
        self._middle, self._half_width = 0.0, 180.0
        self.place = own
        if rng.random() >= suns.own:
            lon, pole = rng.uniform(0.0, 360.0), int(rng.choice((-1, 1)))
            latitude = pole * rng.uniform(suns.latitude.low, suns.latitude.high)
            self.place = Place(lon, latitude, lon, pole)
        if rng.random() < suns.one_side:
            # Around a possible Sun: near the north pole, none stands in the north.
            east, north, _ = self.draw(1)[0]
            self._middle = float(np.degrees(np.arctan2(east, north)))
            self._half_width = rng.uniform(*_WINDOW_DEG) / 2

    def draw(self, count: int) -> NDArray[np.float64]:
        """Unit vectors ``(count, 3)`` towards the Sun in the map frame.

        Raises
        ------
        ValueError
            If the Sun hardly ever, or never, stands within the elevations at the place.
        """
        found: list[NDArray[np.float64]] = []
        for _ in range(_TRIES):
            found.append(self._candidates())
            if sum(map(len, found)) >= count:
                return np.concatenate(found)[:count]
        low, high = self._suns.elevation.low, self._suns.elevation.high
        raise ValueError(
            f"scenes.suns.elevation: expected the Sun within [{low:g}, {high:g}] degrees often enough at "
            f"latitude {self.place.lat:.2f}, found {sum(map(len, found))} of {_TRIES * _CANDIDATES}"
        )

    def _candidates(self) -> NDArray[np.float64]:
        """Suns at random hours of random days that lie within the ranges, ``(n, 3)``."""
        season, hour = self._rng.uniform(0.0, 360.0, (2, _CANDIDATES))
        low, high = self._suns.declination.low, self._suns.declination.high
        declination = (low + high) / 2 + (high - low) / 2 * np.sin(np.radians(season))
        azimuth, elevation = sun_vector(self.place.lon, self.place.lat, hour, declination)
        vectors = map_vectors(azimuth, elevation, self.place)
        on_map = np.degrees(np.arctan2(vectors[:, 0], vectors[:, 1]))
        aside = np.abs((on_map - self._middle + 180.0) % 360.0 - 180.0)
        heights = self._suns.elevation
        kept = (elevation >= heights.low) & (elevation <= heights.high) & (aside <= self._half_width)
        return np.asarray(vectors[kept])
