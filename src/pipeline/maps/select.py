"""Which images a map of a site needs: given ones, or rows of an index, ranked by what they add.

What an image tells of a pixel is taken as linear. A pixel of the a priori DEM with the slopes p to the right
and q upwards and the albedo a has the Lambert radiance r = a (z - p x - q y) / sqrt(1 + p^2 + q^2) under the
Sun (x, y, z). An image that lights the pixel measures it with an error of `_NOISE` of the image's median,
which stands for noise, law and registration. With the gradient g = (dr/dp, dr/dq, dr/da) over that error, the
information on (p, q, a) grows by g g^T per image; it begins with that of a Gaussian prior (`_SLOPE`,
`_ALBEDO`). The expected slope error is the root of the mean of the posterior variances of p and q (Rodgers
2000, ch. 2). It compares sets of images; it is no prediction of a map's error. Which pixels an image lights
is predicted from the a priori DEM by the exact engine, on block means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.imagery.suns.sun import LARGEST_LATITUDE_DEG, Sun
from pipeline.maps.candidates import Blocks, Bools, Candidate, Floats

# Error of an image, in its median lit radiance; a priori standard deviations of slope and relative albedo.
_NOISE, _SLOPE, _ALBEDO = 0.2, 0.1, 0.1
#: Suns that are this far apart count in full; like Suns share their errors, and count for `_LIKE` at least.
APART_DEG = 30.0
_LIKE = 0.25
# Images are compared so where one lights at least this share of what the other lights.
_SHARED = 0.1
#: A pixel needs so many images.
ENOUGH = 3


@dataclass(frozen=True)
class Pick:
    """A chosen image, and the set of all that were chosen up to it.

    Attributes
    ----------
    candidate : the image. apart_deg : to the nearest azimuth of those before that light the same ground; 360
        where there is none.
    lights : share of the map that it lights. unlit, few : shares of the map that none, and fewer than
        `ENOUGH`, of the set light. slope_deg : expected slope error of the set.
    """

    candidate: Candidate
    apart_deg: float
    lights: float
    unlit: float
    few: float
    slope_deg: float


@dataclass(frozen=True)
class Lack:
    """What a set of images lacks.

    Attributes
    ----------
    gap : (from, to) azimuths of its widest gap, degrees. few : share of the map with fewer than `ENOUGH`
        images. helpers : (azimuth, elevation, share of those pixels that it lights) of the highest Suns from
        the directions that help most. dark : share of the map that neither an image nor such a Sun of any
        direction lights.
    """

    gap: tuple[float, float]
    few: float
    helpers: tuple[tuple[float, float, float], ...]
    dark: float

    @property
    def gap_deg(self) -> float:
        """Width of the gap."""
        return (self.gap[1] - self.gap[0]) % 360 or 360.0


def rank(candidates: Sequence[Candidate], blocks: Blocks, want: int) -> list[Pick]:
    """The best images in order, each by what it adds to those before.

    It adds what the variances of the slopes fall by, in full where its azimuth is `APART_DEG` from all chosen
    before that light the same ground, linearly down to a quarter of it where one has the same. Images that
    add nothing are not chosen.

    Parameters
    ----------
    candidates : to choose from, at least one. blocks : of the map. want : how many at most.
    """
    known = blocks.known
    lit = [(blocks.lit(c.sun) & c.covers)[known] for c in candidates]
    told = [_told(c, blocks, light) for c, light in zip(candidates, lit, strict=True)]
    cov = np.zeros((int(known.sum()), 3, 3))
    cov[:, (0, 1), (0, 1)], cov[:, 2, 2] = _SLOPE**2, _ALBEDO**2
    count = np.zeros(len(cov), dtype=int)
    apart = np.full(len(candidates), 360.0)
    left = list(range(len(candidates)))
    picks: list[Pick] = []
    while left and len(picks) < want:
        gains = [
            _gain(cov[lit[k]], told[k]) * (_LIKE + (1 - _LIKE) * min(1.0, apart[k] / APART_DEG)) for k in left
        ]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        k = left.pop(best)
        here, g = lit[k], told[k]
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


def _told(candidate: Candidate, blocks: Blocks, lit: Bools) -> Floats:
    """(n, 3) gradients of the n lit blocks' radiance by slope right, slope up and albedo, over its error."""
    p, q = blocks.right[blocks.known][lit], blocks.up[blocks.known][lit]
    x, y, z = blocks.sun(candidate.sun)
    upward = 1 / np.sqrt(1 + p**2 + q**2)
    light = np.maximum(z - p * x - q * y, 0) * upward
    told = np.stack([-(x + light * p * upward) * upward, -(y + light * q * upward) * upward, light], axis=1)
    level = float(np.median(light)) if light.size else 1.0
    return told / (_NOISE * max(level, 1e-6))


def _gain(cov: Floats, told: Floats) -> float:
    """By how much the slopes' variances fall, summed over pixels (Sherman and Morrison 1950)."""
    v = np.einsum("nij,nj->ni", cov, told)
    weight = 1 + np.einsum("ni,ni->n", v, told)
    return float(np.sum((v[:, 0] ** 2 + v[:, 1] ** 2) / weight))


def lacking(chosen: Sequence[Candidate], blocks: Blocks, helpers: int = 3) -> Lack:
    """What a set of images lacks.

    Parameters
    ----------
    chosen : the images. blocks : of the map. helpers : directions that are named at most.
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
    """The highest Suns that ever stand over a map, one per `APART_DEG` of azimuth from which any is up."""
    best: dict[int, tuple[float, Sun]] = {}
    for lat in (-LARGEST_LATITUDE_DEG, 0.0, LARGEST_LATITUDE_DEG):
        for lon in range(0, 360, 2):
            sun = Sun.from_subsolar(float(lon), lat, "any")
            x, y, z = blocks.sun(sun)
            part = int(np.degrees(np.arctan2(x, y)) % 360 // APART_DEG)
            if z > 0 and (part not in best or z > best[part][0]):
                best[part] = z, sun
    return [best[part][1] for part in sorted(best)]
