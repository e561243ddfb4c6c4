"""Square footprints on the ground, and which of them come close to which others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Squares:
    """Upright squares on a map common to all sites of a pole; arrays of shape (n,).

    Attributes
    ----------
    x, y : centres, metres.
    half : half a side, metres.
    pole : +1 or -1; squares of different poles never meet.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    half: NDArray[np.float64]
    pole: NDArray[np.int64]

    @classmethod
    def on_common_map(
        cls,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        half: float,
        *,
        pole: NDArray[np.int64],
        lon0: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> Squares:
        """Bring squares of polar stereographic maps to longitude of origin 0 and scale 1.

        Squares of a map with another longitude of origin stand askew there; the upright square around
        one takes its place, so that none is thought to be farther away than it is.

        Parameters
        ----------
        x, y : centres on each one's own map, metres.
        half : half a side, metres.
        pole, lon0, scale : of each one's map (see `pipeline.terrain.grid.Projection`).
        """
        turn = np.radians(lon0) * -pole
        cos, sin = np.cos(turn), np.sin(turn)
        upright = half * (np.abs(cos) + np.abs(sin))
        return cls((x * cos + y * sin) / scale, (y * cos - x * sin) / scale, upright / scale, pole)

    def take(self, which: NDArray[np.int64]) -> Squares:
        """Some of the squares."""
        return Squares(self.x[which], self.y[which], self.half[which], self.pole[which])


def touching(mine: Squares, others: Squares, gap: float) -> NDArray[np.bool_]:
    """Which squares have one of the others less than `gap` metres away along x and along y.

    With a gap of 0, squares that share an edge do not touch, but rounding decides: give a slightly negative
    gap to be sure that they do not.

    Returns
    -------
    bool, shape (len(mine.x),).
    """
    out = np.zeros(len(mine.x), dtype=bool)
    # A k-d tree knows points, not squares: one query for each pair of poles and sizes (there are few).
    for pole, half in sorted({(int(p), float(h)) for p, h in zip(others.pole, others.half, strict=True)}):
        theirs = (others.pole == pole) & (others.half == half)
        tree = cKDTree(np.column_stack([others.x[theirs], others.y[theirs]]))
        here = np.flatnonzero(mine.pole == pole)
        if len(here):
            distance, _ = tree.query(np.column_stack([mine.x[here], mine.y[here]]), p=np.inf)
            out[here] |= distance < mine.half[here] + half + gap
    return out
