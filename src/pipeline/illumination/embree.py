"""Visibility of the Sun over a triangulated DEM by ray tracing with Intel Embree: the reference engine.

The mesh has one vertex per pixel centre, and every cell of four pixel centres is split into two triangles by
the diagonal from its top-left to its bottom-right corner, (r, c) to (r+1, c+1). Any other engine must use the
same surface. Lengths are in pixels: the horizontal coordinates are then exact in single precision.

Only geometry is computed: a pixel is dark when terrain, adjacent terrain included, hides the Sun from it. The
dimming of a surface that is inclined to the Sun belongs to photometry.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore import EmbreeDevice
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import ArrayLike, NDArray

from pipeline.illumination.far import far_triangles, steepest
from pipeline.illumination.surface import Window, check_disc, disc_directions, sun_vectors
from pipeline.illumination.visibility import Visibility

# Rays start above the surface by this share of the largest coordinate: some units in the last place of
# single precision, so that a ray does not hit the vertex that it leaves.
_LIFT = 2.5e-7
_DISC_POINTS = 32
# One device per process, shared by its threads.
_DEVICE = EmbreeDevice()


class EmbreeVisibility(Visibility):
    """Visibility by ray tracing; parameters and errors are those of `Visibility`.

    Attributes
    ----------
    origins : starting points of the pixels' rays, just above the ground, ``(P * P, 3)``: columns, minus rows
        and heights above the patch's mean, all in pixels; NaN without data.
    """

    def _build(self, metres: NDArray[np.float64]) -> None:
        top, left, height, width = self._inner
        patch = metres[top : top + height, left : left + width]
        if not np.isfinite(patch).any():
            raise ValueError(
                f"patch at {(top, left)}: expected elevations, found none among {patch.size} pixels"
            )
        # Centred on the patch before it is rounded to single precision.
        mean = np.nanmean(patch)
        z: NDArray[np.float32] = ((metres - mean) / self._pixel_m).astype(np.float32)
        self._z = z
        self._patch = z[top : top + height, left : left + width]
        self._lift = np.float32(_LIFT * max(*z.shape, float(np.nanmax(np.abs(z)))))

        rows, columns = np.mgrid[top : top + height, left : left + width]
        origins = np.stack([columns, -rows, self._patch + self._lift], axis=-1)
        self.origins: NDArray[np.float32] = origins.reshape(-1, 3).astype(np.float32)
        self._solid = np.isfinite(self._patch).ravel()

        # Around each pixel of the patch, one ring of neighbours; NaN beyond the data.
        self._ring = np.pad(z, 1, constant_values=np.nan)[top : top + height + 2, left : left + width + 2]
        around = (self._neighbour(*step) for step in ((0, -1), (0, 1), (-1, 0), (1, 0)))
        self._border = self._solid & np.any([np.isnan(z) for z in around], axis=0).ravel()
        self._steepest = _steepest(z)
        self._scene: EmbreeScene | None = None
        self._floor = np.inf

        self._mean, self._lowest = float(mean), float(np.nanmin(patch))
        self._far_scene: EmbreeScene | None = None
        self._far_floor = np.inf

    def lit(self, sun: ArrayLike) -> NDArray[np.bool_]:
        """Pixels that see the Sun; vectors must be finite, and not zero, in single precision."""
        sun = sun_vectors(sun, np.float32)
        out = np.zeros((len(sun), self._solid.size), dtype=bool)
        slope = _slope(sun)
        self._prepare(slope)
        for index in np.flatnonzero(slope > 0):
            if slope[index] >= self._steepest:  # at the zenith with holes too, where both are infinite
                out[index] = self._solid
            else:
                ask = np.flatnonzero(self._solid & ~self._facing_away(sun[index]).ravel())
                out[index, ask] = self._clear(ask, sun[index])
                for nudged in _beside(sun[index]):
                    again = np.flatnonzero(out[index] & self._border)
                    out[index, again] = self._clear(again, nudged)
            if self._far_scene is not None and slope[index] <= self._far_steepest:
                ask = np.flatnonzero(out[index])
                out[index, ask] = self._clear(ask, sun[index], self._far_scene)
        return out.reshape(len(sun), *self._patch.shape)

    def share(self, sun: ArrayLike, disc_deg: float, limb_darkening: float = 0.0) -> NDArray[np.float32]:
        """Visible share of the Sun's light, by rays to 32 points of its disc, each for an equal part of it.

        The result has steps of 1/32; see `pipeline.illumination.surface.disc_radii` for the points.
        """
        check_disc(disc_deg, limb_darkening)
        points = disc_directions(sun_vectors(sun), disc_deg, _DISC_POINTS, limb_darkening).astype(np.float32)
        self._prepare(_slope(points.reshape(-1, 3)))
        out = np.empty((len(points), *self._patch.shape), dtype=np.float32)
        for index, disc in enumerate(points):
            out[index] = self.lit(disc).mean(axis=0, dtype=np.float32)
        return out

    @cached_property
    def _far_steepest(self) -> float:
        """Slope of rays above which no far terrain is met."""
        return 0.0 if self._far is None else steepest(self._far, self._lowest, self._pixel_m)

    def _clear(
        self, pixels: NDArray[np.intp], sun: NDArray[np.float32], scene: EmbreeScene | None = None
    ) -> NDArray[np.bool_]:
        """Whether the rays of some pixels (flat indices) meet nothing, of the near terrain or of `scene`."""
        scene = scene or self._scene
        assert scene is not None
        hit = scene.run(self.origins[pixels], sun[None, :], query="OCCLUDED")
        clear: NDArray[np.bool_] = hit == -1
        return clear

    def _prepare(self, slope: NDArray[np.float32]) -> None:
        """Build the scene for the lowest risen Sun among `slope`, unless one that serves it is there."""
        floor = float(slope[slope > 0].min(initial=np.inf))
        self._prepare_far(floor)
        if floor >= self._floor or floor >= self._steepest:
            return
        vertices, faces = _mesh(self._z, self._inner, floor)
        # Robust by default: without it, rays slip between triangles.
        self._scene = EmbreeScene(_DEVICE)
        TriangleMesh(self._scene, vertices, faces)
        self._floor = floor

    def _prepare_far(self, floor: float) -> None:
        """As `_prepare`, for the far terrain; no scene where none of it can matter."""
        if self._far is None or floor >= self._far_floor or floor > self._far_steepest:
            return
        vertices, faces = far_triangles(self._far, self._lowest, self._pixel_m, floor)
        self._far_floor = floor
        if len(faces):
            vertices[:, 2] = (vertices[:, 2] - self._mean) / self._pixel_m
            self._far_scene = EmbreeScene(_DEVICE)
            TriangleMesh(self._far_scene, vertices.astype(np.float32), np.ascontiguousarray(faces))

    def _facing_away(self, sun: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Pixels whose ray starts out below the triangle on its side: occluded without tracing.

        The direction selects the same one of the six triangles around every pixel. The ray meets the
        triangle's far edge `reach` pixels away; where that edge stands clearly higher than the ray, the ray
        has crossed the triangle. Narrow cases, and missing neighbours (NaN), are left to Embree.
        """
        right, down, up = float(sun[0]), -float(sun[1]), float(sun[2])
        span = max(abs(right), abs(down), abs(right - down))
        if span == 0:
            return np.zeros(self._patch.shape, dtype=bool)
        a, b, weight = _far_edge(right / span, down / span)
        centre = self._patch
        # NaN unless the whole triangle is there, at the weight 0 too.
        far: NDArray[np.float32] = (1 - weight) * self._neighbour(*a) + weight * self._neighbour(*b)
        if weight == 0:
            # Along a row or column the ray borders on a second triangle, whose third corner this is.
            other = self._neighbour(*a) + 0 * self._neighbour(-a[1], -a[0])
            far = np.where(np.isnan(far), other, far)
        result: NDArray[np.bool_] = far - centre > up / span + 4 * self._lift
        return result

    def _neighbour(self, right: int, down: int) -> NDArray[np.float32]:
        height, width = self._patch.shape
        return self._ring[1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _slope(sun: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tangent of the elevation: 0 for a Sun that has not risen, infinite at the zenith."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sun[:, 2] > 0, sun[:, 2] / np.hypot(sun[:, 0], sun[:, 1]), np.float32(0))


def _beside(sun: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """For a Sun along the grid's rows or columns, two directions that differ from it very slightly.

    Whether a ray along the border of the mesh meets it depends on rounding. The border belongs to the
    terrain: such a ray is occluded when it would be on either side.
    """
    level = np.hypot(sun[0], sun[1])
    if min(abs(sun[0]), abs(sun[1])) > 1e-5 * level or level == 0:
        return []
    aside = np.array([-sun[1], sun[0], 0], dtype=np.float32) * np.float32(2e-5)
    return [sun + aside, sun - aside]


def _far_edge(right: float, down: float) -> tuple[tuple[int, int], tuple[int, int], np.float32]:
    """Ends (steps right, steps down) of the far edge that a direction crosses, and the weight of the second.

    `right` and `down` are the crossing itself, in pixels from the vertex.
    """
    if right * down >= 0:  # between an axis and the diagonal
        across = (1 if right > 0 else -1, 0) if abs(right) >= abs(down) else (0, 1 if down > 0 else -1)
        corner = (1 if right > 0 or down > 0 else -1,) * 2
        return across, corner, np.float32(min(abs(right), abs(down)))
    return (1 if right > 0 else -1, 0), (0, 1 if down > 0 else -1), np.float32(abs(down))


def _steepest(z: NDArray[np.float32]) -> float:
    """Slope above which no ray from the surface can meet it again; infinite where the surface has holes."""
    if not np.isfinite(z).all():
        return np.inf
    right, down = np.diff(z, axis=1), np.diff(z, axis=0)
    if not right.size or not down.size:
        return np.inf
    # The two triangles of a cell: one has its left and bottom sides, the other its top and right sides.
    lower = np.hypot(right[1:], down[:, :-1]).max()
    upper = np.hypot(right[:-1], down[:, 1:]).max()
    return float(max(lower, upper)) * (1 + 1e-5) + 1e-5


def _mesh(
    z: NDArray[np.float32], inner: Window, floor: float
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices and triangles of the surface that a ray of slope `floor` or more from the patch may meet.

    A ray that leaves the patch is at least as high as the patch's lowest pixel plus `floor` times the
    distance from the patch; triangles wholly below that are left out.
    """
    top, left, height, width = inner
    rows, columns = np.indices(z.shape)
    beyond = np.hypot(
        np.maximum(np.maximum(top - rows, rows - (top + height - 1)), 0),
        np.maximum(np.maximum(left - columns, columns - (left + width - 1)), 0),
    )
    lowest = np.nanmin(z[top : top + height, left : left + width])
    # The nearest point of a triangle is up to a cell's diagonal nearer than its corner.
    reach = z - lowest >= floor * np.maximum(beyond - 1.5, 0) - 1e-3
    index = np.arange(z.size).reshape(z.shape)
    corner_a, corner_b, corner_c, corner_d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    halves = (corner_a, corner_c, corner_d), (corner_a, corner_d, corner_b)
    faces = np.concatenate([np.stack(half, axis=-1).reshape(-1, 3) for half in halves])
    faces = faces[np.isfinite(z).ravel()[faces].all(axis=1) & reach.ravel()[faces].any(axis=1)]
    if not len(faces):
        # Embree treats an empty scene as an error: one triangle far below everything.
        below = np.float32(lowest - 1e3)
        vertices = np.array([[0, 0, below], [1, 0, below], [0, 1, below]], np.float32)
        return vertices, np.array([[0, 1, 2]], np.int32)
    used, faces = np.unique(faces, return_inverse=True)
    vertices = np.stack([columns.ravel(), -rows.ravel(), z.ravel()], axis=-1)[used].astype(np.float32)
    return vertices, np.ascontiguousarray(faces.reshape(-1, 3), dtype=np.int32)
