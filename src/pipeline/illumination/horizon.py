"""Visibility of the Sun from exact horizons: shift-and-max over the crossings of a ray with the mesh.

The surface is the triangle mesh of the DEM: vertices at the pixel centres, each cell split along its diagonal
from top-left to bottom-right. A ray that leaves a vertex crosses mesh edges (grid rows, grid columns and
diagonals) at positions that are the same for every vertex of a regular grid: crossing k lies at distance d_k,
at a fraction w_k of the edge between the vertices at offsets a_k and b_k. Between two edges the surface is a
plane, so the steepest line of sight to it ends on an edge, and the horizon of vertex p is

    tan h(p) = max over k of ((1 - w_k) z[p + a_k] + w_k z[p + b_k] - z[p]) / d_k

exactly. All loads are of neighbouring values, so `horizon_kernels` processes eight pixels at a time. A tile
of 8 x 8 pixels skips a group of crossings when the highest terrain there cannot change its result: when it
does not rise above the tile's lowest horizon, or, for a point Sun, above the lowest elevation in that azimuth
that is still undecided. Directions that share an azimuth share the work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.illumination import horizon_kernels as kernels
from pipeline.illumination.crossing_kernels import ABSENT, TILE, WINDOW, Terrain
from pipeline.illumination.directions import azimuth_elevation
from pipeline.illumination.far_kernels import far_edges, far_horizon_kernel
from pipeline.illumination.surface import Window, check_disc, sun_vectors
from pipeline.illumination.visibility import Visibility

# Azimuths are rounded to 1e-4 degrees: directions that differ by float32 rounding share their horizon, and a
# ray moves by less than 0.0005 pixel over 500 pixels.
_AZIMUTH_DECIMALS = 4


class HorizonVisibility(Visibility):
    """Visibility by exact horizons, for one piece of terrain and any number of directions.

    Parameters and errors are those of `Visibility`.

    Notes
    -----
    Same geometry as the ray-tracing engine. A mesh edge blocks when both its ends have data and belong to
    complete triangles: ground is solid, so the far rim of a hole hides the Sun from lower pixels, where a ray
    traced against a sheet of triangles would pass below it. A pixel without data is never lit. The
    map's horizontal is the lowest horizon: a Sun at or below elevation 0 lights nothing, a flat plane is lit
    above it. Heights are taken relative to their mean over `inner`, in float32: tangents carry rounding
    errors of about 1e-6, so a Sun that grazes an edge closer than that may be decided either way.
    """

    def _build(self, metres: NDArray[np.float64]) -> None:
        top, left, height, width = self._inner
        self._terrain = make_terrain(metres, self._pixel_m, self._inner)
        self._shape = (height, width)
        self._heights = np.ascontiguousarray(metres[top : top + height, left : left + width])

    def lit(self, sun: ArrayLike) -> NDArray[np.bool_]:
        """Pixels that see a point Sun: the ray from the pixel to it meets no terrain."""
        azimuth, elevation = azimuth_elevation(sun_vectors(sun))
        lit = np.zeros((len(azimuth), *self._shape), np.uint8)
        # At the zenith the tangent is 1.6e16 in floats: above every horizon.
        tangent = np.tan(np.radians(elevation)).astype(np.float32)
        headings, begin, order = by_azimuth(azimuth, elevation)
        kernels.lit_kernel(self._terrain, headings, begin, tangent[order], order, lit)
        result = lit.view(np.bool_)
        if self._far is not None:
            beyond = self._beyond(headings, tangent[order[begin[:-1]]].astype(np.float64))
            for heading in range(len(headings)):
                for k in order[begin[heading] : begin[heading + 1]]:
                    result[k] &= beyond[heading] < tangent[k]
        return result

    def share(self, sun: ArrayLike, disc_deg: float, limb_darkening: float = 0.0) -> NDArray[np.float32]:
        """Visible share of the light of the Sun's disc.

        The horizon within the disc is taken as a straight level line at the horizon's elevation in the
        azimuth of the disc's centre, so the share is that of a circular segment. This is an approximation: a
        uniform slope across the disc cancels to first order (one half loses what the other gains), but
        terrain narrower than the disc counts in full in front of its centre and not at all beside it.
        """
        check_disc(disc_deg, limb_darkening)
        azimuth, elevation = azimuth_elevation(sun_vectors(sun))
        radius = disc_deg / 2
        share = np.zeros((len(azimuth), *self._shape), np.float32)
        headings, begin, order = by_azimuth(azimuth, elevation, lowest=-radius)
        centre = np.radians(elevation[order])
        floors = np.tan(np.maximum(centre[begin[:-1]] - np.radians(radius), 0.0))
        span, beyond = np.radians(radius), self._beyond(headings, floors)
        kernels.share_kernel(
            self._terrain, headings, begin, centre, order, span, float(limb_darkening), beyond, share
        )
        return share

    def horizon(self, azimuth_deg: ArrayLike, floor: float = 0.0) -> NDArray[np.float32]:
        """Tangent of the horizon's elevation.

        Parameters
        ----------
        azimuth_deg : ``(A,)`` degrees clockwise from map-up.
        floor : lower horizons are returned as this tangent, not below 0; a higher floor is faster.

        Returns
        -------
        ``(A, H, W)`` float32, NaN where there are no data.

        Raises
        ------
        ValueError
            If `floor` is negative.
        """
        if not floor >= 0:
            raise ValueError(f"floor: expected a tangent of at least 0, found {floor}")
        headings = _headings(np.atleast_1d(np.asarray(azimuth_deg, dtype=np.float64)))
        horizon = np.empty((len(headings), *self._shape), np.float32)
        kernels.horizon_kernel(self._terrain, headings, float(floor), horizon)
        if self._far is not None:
            beyond = self._beyond(headings, np.full(len(headings), float(floor)))
            np.maximum(horizon, beyond, out=horizon)
        return horizon

    def _beyond(self, headings: NDArray[np.float64], floors: NDArray[np.float64]) -> NDArray[np.float32]:
        """Tangents of the far horizon ``(A, H, W)``, exact above each heading's floor; (0, H, W) for none."""
        if self._far is None or not len(headings):
            return np.empty((0, *self._shape), np.float32)
        far, heights = self._far, self._heights
        lowest = float(np.nanmin(heights))
        mesh = (far.z, far.rows, far.cols, far.lower, far.upper, far.away)
        edges = far_edges(*mesh, lowest, far.clearance, self._pixel_m, float(floors.min()))
        beyond = np.empty((len(headings), *self._shape), np.float32)
        top, left = self._inner[:2]
        far_horizon_kernel(edges, heights, top, left, self._pixel_m, headings, floors, beyond)
        return beyond


def _headings(azimuth_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns and rows per pixel of distance, ``(A, 2)``; exact along rows, columns and diagonals."""
    azimuth = np.round(azimuth_deg, _AZIMUTH_DECIMALS) % 360.0
    east, south = np.sin(np.radians(azimuth)), -np.cos(np.radians(azimuth))
    octant = azimuth % 45.0 == 0
    # At multiples of 45 degrees the ray follows mesh edges, from which rounding would deflect it.
    east[octant] = np.round(east[octant] * 2) / 2
    south[octant] = np.round(south[octant] * 2) / 2
    length = np.hypot(east, south)
    return np.stack([east / length, south / length], axis=-1)


def by_azimuth(
    azimuth: NDArray[np.float64], elevation: NDArray[np.float64], lowest: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Group the directions above the elevation `lowest`, degrees, by azimuth.

    Returns
    -------
    headings : ``(A, 2)`` columns and rows per pixel of distance, east and south.
    begin : ``(A + 1,)``; the directions of heading i are ``order[begin[i] : begin[i + 1]]``.
    order : indices of the directions, ascending in elevation within a heading.
    """
    rounded = np.round(azimuth, _AZIMUTH_DECIMALS) % 360.0
    order = np.lexsort((elevation, rounded))
    order = order[elevation[order] > lowest]
    azimuths, begin = np.unique(rounded[order], return_index=True)
    return _headings(azimuths), np.append(begin, len(order)).astype(np.int64), order.astype(np.int64)


def make_terrain(metres: NDArray[np.float64], pixel_m: float, inner: Window) -> Terrain:
    """The kernels' input for a DEM ``(Y, X)``, m, and its window of receiving pixels.

    Raises
    ------
    ValueError
        If the window holds no elevation.
    """
    top, left, height, width = inner
    rows, cols = metres.shape
    patch = np.s_[top : top + height, left : left + width]
    known = np.isfinite(metres)
    if not known[patch].any():
        raise ValueError(
            f"inner: expected elevations, found none among the {height} x {width} pixels at {inner[:2]}"
        )
    heights = metres - metres[patch][known[patch]].mean()
    # The margin holds tiles that extend beyond the edge and windows that have just left the DEM.
    margin = WINDOW + 1
    stride = -(-(cols + 2 * margin) // 8) * 8 + 8
    surface = np.full((rows + 2 * margin, stride), -ABSENT, np.float32)
    inside = surface[margin : margin + rows, margin : margin + cols]
    np.copyto(inside, heights, where=known if known.all() else _meshed(known), casting="same_kind")

    tiles = -(-height // TILE), -(-width // TILE)
    start = np.full((tiles[0] * TILE, tiles[1] * TILE), ABSENT, np.float32)
    np.copyto(start[:height, :width], heights[patch], where=known[patch], casting="same_kind")
    return Terrain(
        flat=surface.ravel(), pooled=_pooled(surface).ravel(), start=start.ravel(),
        lowest=start.reshape(tiles[0], TILE, tiles[1], TILE).min(axis=(1, 3)), stride=stride,
        top=margin + top, left=margin + left, height=height, width=width,
        row0=margin, row1=margin + rows, col0=margin, col1=margin + cols, pixel_m=pixel_m,
    )  # fmt: skip


def _meshed(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Vertices that belong to a complete triangle."""
    meshed = np.zeros_like(known)
    corners = known[:-1, :-1], known[:-1, 1:], known[1:, :-1], known[1:, 1:]
    places = np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, :-1], np.s_[1:, 1:]
    for third in (1, 2):  # above the diagonal, below it
        triangle = corners[0] & corners[third] & corners[3]
        for corner in (0, third, 3):
            meshed[places[corner]] |= triangle
    return meshed


def _pooled(surface: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maximum over the square of WINDOW pixels per side whose top-left corner is each pixel."""
    pooled = surface.copy()
    for along in (pooled, pooled.T):
        size = 1
        while size < WINDOW:
            step = min(size, WINDOW - size)
            # Each pass reads ahead of where it writes; the maximum is a new array.
            along[:-step] = np.maximum(along[:-step], along[step:])
            size += step
    return pooled
