"""Selection of images for a map of a site: given ones, or rows of an index, ranked by their information.

The measurement of a pixel by an image is linearised. A pixel of the a priori DEM with the slopes p to the
right and q upwards and the albedo a has the Lambert radiance r = a (z - p x - q y) / sqrt(1 + p^2 + q^2)
under the Sun (x, y, z). An image that lights the pixel measures it with an error of `_NOISE` of the image's
median, which stands for noise, law and registration. With the gradient g = (dr/dp, dr/dq, dr/da) over that
error, the information on (p, q, a) grows by g g^T per image, starting with that of a Gaussian prior
(`_SLOPE`, `_ALBEDO`). The expected slope error is the root of the mean of the posterior variances of p and q
(Rodgers 2000, ch. 2). It serves to compare sets of images and does not predict a map's error. The pixels that
an image lights are predicted from the a priori DEM by the exact engine, on block means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.imagery.suns.sun import LARGEST_LATITUDE_DEG, Sun
from pipeline.maps.candidates import Blocks, Bools, Candidate, Floats

# Error of an image over its median lit radiance; a priori standard deviations of slope and relative albedo.
_NOISE, _SLOPE, _ALBEDO = 0.2, 0.1, 0.1
#: Difference of azimuth from which images count in full; similar Suns share their errors, and count for
#: `_LIKE` at least.
APART_DEG = 30.0
_LIKE = 0.25
# Azimuths are compared where one image lights at least this share of the blocks that the other lights.
_SHARED = 0.1
#: Number of images that a pixel needs.
ENOUGH = 3


@dataclass(frozen=True)
class Pick:
    """A chosen image, and properties of the set of all images chosen up to it.

    Attributes
    ----------
    candidate : the image. apart_deg : difference to the nearest azimuth of previous images that light the
        same ground, degrees; 360 where there is none.
    lights : share of the map that it lights. unlit, few : shares of the map lit by none, and by fewer than
        `ENOUGH`, of the set. slope_deg : expected slope error of the set, degrees.
    """

    candidate: Candidate
    apart_deg: float
    lights: float
    unlit: float
    few: float
    slope_deg: float


@dataclass(frozen=True)
class Lack:
    """Deficiencies of a set of images.

    Attributes
    ----------
    gap : (from, to) azimuths of its widest gap, degrees. few : share of the map with fewer than `ENOUGH`
        images. helpers : (azimuth, elevation, share of those pixels that it lights) of the highest Suns from
        the most helpful directions. dark : share of the map lit neither by an image nor by the highest Sun of
        any direction.
    """

    gap: tuple[float, float]
    few: float
    helpers: tuple[tuple[float, float, float], ...]
    dark: float

    @property
    def gap_deg(self) -> float:
        """Width of the gap, degrees."""
        return (self.gap[1] - self.gap[0]) % 360 or 360.0


def rank(candidates: Sequence[Candidate], blocks: Blocks, want: int) -> list[Pick]:
    """The best images in order, each chosen by its gain over the previous ones.

    The gain is the reduction of the slopes' variances. It counts in full where the azimuth differs by at
    least `APART_DEG` from those of all previous images that light the same ground, and falls linearly to a
    quarter where one has the same azimuth. Images without a gain are not chosen.

    Parameters
    ----------
    candidates : to choose from, at least one. blocks : of the map. want : largest number of images.
    """
    known = blocks.known
    lit = [(blocks.lit(c.sun) & c.covers)[known] for c in candidates]
    gradients = [_gradients(c, blocks, light) for c, light in zip(candidates, lit, strict=True)]
    cov = np.zeros((int(known.sum()), 3, 3))
    cov[:, (0, 1), (0, 1)], cov[:, 2, 2] = _SLOPE**2, _ALBEDO**2
    count = np.zeros(len(cov), dtype=int)
    apart = np.full(len(candidates), 360.0)
    left = list(range(len(candidates)))
    picks: list[Pick] = []
    while left and len(picks) < want:
        gains = [
            _gain(cov[lit[k]], gradients[k]) * (_LIKE + (1 - _LIKE) * min(1.0, apart[k] / APART_DEG))
            for k in left
        ]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        k = left.pop(best)
        here, g = lit[k], gradients[k]
        v = np.einsum("nij,nj->ni", cov[here], g)
        weight = 1 + np.einsum("ni,ni->n", v, g)
        cov[here] -= v[:, :, None] * v[:, None, :] / weight[:, None, None]
        count[here] += 1
        slope = math.sqrt(float(np.mean(cov[:, 0, 0] + cov[:, 1, 1])) / 2)
        picks.append(
            Pick(
                candidates[k],
                float(apart[k]),
                float(here.mean()),
                float((count == 0).mean()),
                float((count < ENOUGH).mean()),
                math.degrees(math.atan(slope)),
            )
        )
        for other in left:
            if (lit[k] & lit[other]).sum() >= _SHARED * lit[other].sum():
                turn = abs((candidates[other].azimuth_deg - candidates[k].azimuth_deg + 180) % 360 - 180)
                apart[other] = min(apart[other], turn)
    return picks


def _gradients(candidate: Candidate, blocks: Blocks, lit: Bools) -> Floats:
    """(n, 3) gradients of the n lit blocks' radiance by slope right, slope up and albedo, over its error."""
    p, q = blocks.right[blocks.known][lit], blocks.up[blocks.known][lit]
    x, y, z = blocks.sun(candidate.sun)
    upward = 1 / np.sqrt(1 + p**2 + q**2)
    light = np.maximum(z - p * x - q * y, 0) * upward
    by_right, by_up = -(x + light * p * upward) * upward, -(y + light * q * upward) * upward
    level = float(np.median(light)) if light.size else 1.0
    return np.stack([by_right, by_up, light], axis=1) / (_NOISE * max(level, 1e-6))


def _gain(cov: Floats, gradients: Floats) -> float:
    """Reduction of the slopes' variances, summed over pixels (Sherman and Morrison 1950)."""
    v = np.einsum("nij,nj->ni", cov, gradients)
    weight = 1 + np.einsum("ni,ni->n", v, gradients)
    return float(np.sum((v[:, 0] ** 2 + v[:, 1] ** 2) / weight))


def lacking(chosen: Sequence[Candidate], blocks: Blocks, helpers: int = 3) -> Lack:
    """Deficiencies of a set of images.

    Parameters
    ----------
    chosen : the images. blocks : of the map. helpers : largest number of directions in the result.
    """
    known = blocks.known
    count = np.zeros(int(known.sum()), dtype=int)
    for candidate in chosen:
        count += (blocks.lit(candidate.sun) & candidate.covers)[known]
    few = count < ENOUGH
    azimuths = sorted(c.azimuth_deg for c in chosen) or [0.0]
    ends = [*azimuths[1:], azimuths[0]]
    gaps = [(b - a) % 360 or 360.0 for a, b in zip(azimuths, ends, strict=True)]
    widest = int(np.argmax(gaps))
    found, reached = [], count > 0
    for sun in _highest(blocks):
        lit = blocks.lit(sun)[known]
        reached = reached | lit
        x, y, z = blocks.sun(sun)
        share = float(lit[few].mean()) if few.any() else 0.0
        found.append((float(np.degrees(np.arctan2(x, y)) % 360), float(np.degrees(np.arcsin(z))), share))
    best = [each for each in sorted(found, key=lambda each: -each[2]) if each[2] > 0][:helpers]
    return Lack((azimuths[widest], ends[widest]), float(few.mean()), tuple(best), float((~reached).mean()))


def _highest(blocks: Blocks) -> list[Sun]:
    """The highest possible Suns over a map, one per `APART_DEG` of azimuth where the Sun ever rises."""
    best: dict[int, tuple[float, Sun]] = {}
    for lat in (-LARGEST_LATITUDE_DEG, 0.0, LARGEST_LATITUDE_DEG):
        for lon in range(0, 360, 2):
            sun = Sun.from_subsolar(float(lon), lat, "any")
            x, y, z = blocks.sun(sun)
            part = int(np.degrees(np.arctan2(x, y)) % 360 // APART_DEG)
            if z > 0 and (part not in best or z > best[part][0]):
                best[part] = z, sun
    return [best[part][1] for part in sorted(best)]
