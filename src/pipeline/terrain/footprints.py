"""Square footprints of patches on the ground, and tests of their distance."""

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
    pole : +1 or -1; squares of different poles never touch.
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
        half: float | NDArray[np.float64],
        *,
        pole: NDArray[np.int64],
        lon0: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> Squares:
        """Transform squares of polar stereographic maps to longitude of origin 0 and scale 1.

        Squares of a map with another longitude of origin are rotated there; each is replaced by the upright
        square around it, so that no distance is overestimated.

        Parameters
        ----------
        x, y : centres, each on its own map, metres.
        half : half a side, metres.
        pole, lon0, scale : parameters of each map (see `pipeline.terrain.grid.Projection`).
        """
        turn = np.radians(lon0) * -pole
        cos, sin = np.cos(turn), np.sin(turn)
        upright = half * (np.abs(cos) + np.abs(sin))
        return cls((x * cos + y * sin) / scale, (y * cos - x * sin) / scale, upright / scale, pole)

    def take(self, which: NDArray[np.int64]) -> Squares:
        """Some of the squares."""
        return Squares(self.x[which], self.y[which], self.half[which], self.pole[which])


def touching(mine: Squares, others: Squares, gap: float) -> NDArray[np.bool_]:
    """Which squares are less than `gap` metres away, along x and along y, from one of the others.

    With a gap of 0, rounding decides whether squares that share an edge touch: a slightly negative gap
    ensures that they do not.

    Returns
    -------
    bool, shape (len(mine.x),).
    """
    out = np.zeros(len(mine.x), dtype=bool)
    # A k-d tree contains points, not squares: one query for each pair of pole and size (there are few).
    for pole, half in sorted({(int(p), float(h)) for p, h in zip(others.pole, others.half, strict=True)}):
        theirs = (others.pole == pole) & (others.half == half)
        tree = cKDTree(np.column_stack([others.x[theirs], others.y[theirs]]))
        here = np.flatnonzero(mine.pole == pole)
        if len(here):
            distance, _ = tree.query(np.column_stack([mine.x[here], mine.y[here]]), p=np.inf)
            out[here] |= distance < mine.half[here] + half + gap
    return out
