"""Far terrain: the coarse mesh beyond a patch's halo, as both engines use it.

The surface is the triangle mesh of the block means: a vertex at every block's centre, each cell of four split
along its diagonal from top-left to bottom-right, as the fine mesh is. Cells that lie wholly inside the fine
terrain (the patch and its halo) are left out; those across its border stay, so that there is no gap, and the
fine terrain's missing pixels are filled from the blocks. Ground
is solid: a ray that passes below an edge of this mesh is blocked, at the mesh's own borders too.

The mean of a block is not the height of its centre: at a distance d the horizon may be wrong by the relief
within a block divided by d. The coarse terrain must therefore begin at least one block away from the patch,
which takes a halo of two blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from pipeline.illumination.surface import MOON_RADIUS_M, Window
from pipeline.storage.store import read_store


@dataclass(frozen=True)
class FarTerrain:
    """Block means around one patch.

    Attributes
    ----------
    z : ``(Y, X)`` heights, m; NaN where there is no terrain.
    cell_px : distance of neighbouring vertices, in pixels of the fine DEM.
    row, col : position of vertex (0, 0) relative to the centre of the fine DEM's first pixel, pixels; often
        fractional or negative.
    """

    z: NDArray[np.float64]
    cell_px: int
    row: float
    col: float

    @property
    def rows(self) -> NDArray[np.float64]:
        """Rows of the vertices in the fine DEM, pixels ``(Y,)``."""
        return self.row + self.cell_px * np.arange(self.z.shape[0], dtype=np.float64)

    @property
    def cols(self) -> NDArray[np.float64]:
        """Columns of the vertices in the fine DEM, pixels ``(X,)``."""
        return self.col + self.cell_px * np.arange(self.z.shape[1], dtype=np.float64)


@dataclass(frozen=True)
class FarMesh:
    """The coarse mesh without its part inside the fine terrain, in the fine DEM's pixels.

    Attributes
    ----------
    z : ``(Y, X)`` heights, m, lowered by the Moon's curvature where the engine does so; NaN where there are
        none.
    rows, cols : positions of the vertices, pixels, ``(Y,)`` and ``(X,)``.
    lower, upper : ``(Y - 1, X - 1)`` bool: whether the cell's triangle below, or above, its diagonal exists.
    away : ``(Y, X)`` distance of each vertex from the patch's nearest pixel, pixels.
    clearance : lower bound of the distance between the mesh and the patch's pixels, pixels.
    cell_px : distance of neighbouring vertices, pixels.
    """

    z: NDArray[np.float64]
    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    lower: NDArray[np.bool_]
    upper: NDArray[np.bool_]
    away: NDArray[np.float64]
    clearance: float
    cell_px: int


def filled(dem: NDArray[np.float64], inner: Window, far: FarTerrain) -> NDArray[np.float64]:
    """The fine terrain with its missing pixels outside a patch taken from the far terrain.

    Terrain whose data end within the halo would otherwise have a gap there that casts no shadow, since
    `far_mesh` leaves out what lies inside the fine terrain.

    Parameters
    ----------
    dem : ``(Y, X)`` heights, m, NaN where missing. inner : ``(top, left, height, width)`` of the patch,
        whose pixels stay as they are. far : coarse terrain; its heights are interpolated bilinearly.

    Returns
    -------
    ``(Y, X)``, m; NaN where the far terrain is unknown too.
    """
    missing = np.isnan(dem)
    top, left, height, width = inner
    missing[top : top + height, left : left + width] = False
    if not missing.any() or min(far.z.shape) < 2:
        return dem
    rows, cols = np.nonzero(missing)
    between = RegularGridInterpolator((far.rows, far.cols), far.z, bounds_error=False, fill_value=np.nan)
    out = dem.copy()
    out[rows, cols] = between(np.column_stack([rows, cols]))
    return out


def far_mesh(
    far: FarTerrain, shape: tuple[int, ...], inner: Window, pixel_m: float, curvature: bool
) -> FarMesh | None:
    """The mesh of the terrain beyond a patch's halo, or None where there is no triangle.

    Parameters
    ----------
    far : coarse terrain.
    shape : ``(Y, X)`` of the fine DEM. inner : ``(top, left, height, width)`` of the patch in it.
    pixel_m : pixel size of the fine DEM, m.
    curvature : lower the terrain by d^2 / 2R with the distance d from the patch's centre.

    Raises
    ------
    ValueError
        If the halo is narrower than two cells.
    """
    top, left, height, width = inner
    halo = min(top, left, shape[0] - top - height, shape[1] - left - width)
    if halo < 2 * far.cell_px:
        raise ValueError(
            f"illumination.halo_px: expected at least 2 x illumination.far_cell_px = {2 * far.cell_px} with "
            f"far terrain, found {halo} around the patch"
        )
    rows, cols, z = far.rows, far.cols, far.z
    if min(z.shape) < 2:
        return None
    if curvature:
        away2 = np.add.outer((rows - (top + (height - 1) / 2)) ** 2, (cols - (left + (width - 1) / 2)) ** 2)
        z = z - away2 * pixel_m**2 / (2 * MOON_RADIUS_M)
    within = np.logical_and.outer((rows >= 0) & (rows <= shape[0] - 1), (cols >= 0) & (cols <= shape[1] - 1))
    inside = within[:-1, :-1] & within[1:, 1:]
    known = np.isfinite(z)
    diagonal = known[:-1, :-1] & known[1:, 1:] & ~inside
    lower, upper = diagonal & known[1:, :-1], diagonal & known[:-1, 1:]
    if not (lower.any() or upper.any()):
        return None
    away = np.hypot.outer(
        np.maximum(np.maximum(top - rows, rows - (top + height - 1)), 0),
        np.maximum(np.maximum(left - cols, cols - (left + width - 1)), 0),
    )
    return FarMesh(z, rows, cols, lower, upper, away, float(halo - far.cell_px), far.cell_px)


def steepest(mesh: FarMesh, lowest: float, pixel_m: float) -> float:
    """Upper bound of the tangent of the mesh's elevation as seen from any pixel of the patch.

    Parameters
    ----------
    mesh : coarse mesh. lowest : height of the patch's lowest pixel, m. pixel_m : pixel size, m.
    """
    way = np.maximum(mesh.away - 1.5 * mesh.cell_px, mesh.clearance) * pixel_m
    return float(np.nanmax((mesh.z - lowest) / way)) * (1 + 1e-5) + 1e-5


def far_triangles(
    mesh: FarMesh, lowest: float, pixel_m: float, floor: float
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Vertices and triangles of the surface and of the walls below its borders, for ray tracing.

    Triangles are left out that no ray of slope `floor` or more from the patch meets: such a ray is at least
    as high as the patch's lowest pixel plus `floor` times the distance.

    Parameters
    ----------
    mesh : coarse mesh. lowest : height of the patch's lowest pixel, m. pixel_m : pixel size, m.
    floor : smallest tangent of the rays' elevation.

    Returns
    -------
    vertices : ``(V, 3)`` columns, minus rows (pixels), heights in m.
    faces : ``(F, 3)``; empty where no triangle matters.
    """
    z = mesh.z
    index = np.arange(z.size).reshape(z.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    halves = ((a, c, d), mesh.lower), ((a, d, b), mesh.upper)
    faces = np.concatenate([np.stack(corners, axis=-1)[there] for corners, there in halves])
    # A border edge belongs to only one triangle of the two beside it (above and below, or left and right).
    level = np.pad(mesh.upper, ((0, 1), (0, 0))) ^ np.pad(mesh.lower, ((1, 0), (0, 0)))
    upright = np.pad(mesh.lower, ((0, 0), (0, 1))) ^ np.pad(mesh.upper, ((0, 0), (1, 0)))
    single = mesh.lower ^ mesh.upper
    edges = (index[:, :-1], index[:, 1:], level), (index[:-1], index[1:], upright), (a, d, single)
    one, other = (np.concatenate([edge[end][edge[2]] for edge in edges]) for end in (0, 1))
    walls = (one, other, one + z.size), (other, other + z.size, one + z.size)
    wall = np.concatenate([np.stack(corners, axis=-1) for corners in walls])
    # The nearest point of a triangle is up to a cell's diagonal nearer than its corner.
    way = np.maximum(mesh.away - 1.5 * mesh.cell_px, mesh.clearance) * pixel_m
    high = (z - lowest >= floor * way - 1e-3 * pixel_m).ravel()
    faces = np.concatenate([faces[high[faces].any(axis=1)], wall[high[wall % z.size].any(axis=1)]])
    rows, cols = np.meshgrid(mesh.rows, mesh.cols, indexing="ij")
    top = np.stack([cols, -rows, z], axis=-1).reshape(-1, 3)
    foot = top.copy()
    foot[:, 2] = np.minimum(foot[:, 2], lowest) - pixel_m
    used, faces = np.unique(faces, return_inverse=True)
    return np.concatenate([top, foot])[used], faces.reshape(-1, 3).astype(np.int32)


class FarDem:
    """Block means of a whole terrain, from which patches take their surroundings.

    The arrays of the lattices in use are held in memory: 4 bytes per block.

    Parameters
    ----------
    path : store of schema ``far``.

    Attributes
    ----------
    pixel_m : pixel size of the terrain, m. cell_px : side of a block, pixels.

    Raises
    ------
    StoreError
        If the file is absent, or no such store.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        root = read_store(self.path, schema="far")
        self.pixel_m, self.cell_px = float(root.attrs["pixel_m"]), int(root.attrs["cell_px"])
        self._lattice, self._row, self._col = (root[name].values for name in ("lattice", "row", "col"))
        self._dems: dict[int, NDArray[np.float32]] = {}

    def around(self, site: int, row: int, col: int, size_px: int, halo_px: int, reach_m: float) -> FarTerrain:
        """Terrain within a distance of a patch's centre.

        Parameters
        ----------
        site : index of the patch's site. row, col : its top-left pixel on the site's grid.
        size_px, halo_px : side of the patch; width of the fine terrain around it, pixels.
        reach_m : blocks whose centre is farther from the patch's centre are left out, m.

        Returns
        -------
        Block means, whose positions count from the first pixel of the patch's halo; NaN where there is no
        terrain, empty if there is none within the distance.

        Raises
        ------
        ValueError
            If the store does not hold the site.
        """
        if not 0 <= site < len(self._lattice):
            raise ValueError(
                f"{self.path}: expected site {site} of the patches, found {len(self._lattice)} sites"
            )
        number = int(self._lattice[site])
        if number not in self._dems:
            self._dems[number] = read_store(self.path, f"lattice_{number}")["dem"].values
        dem, cell = self._dems[number], self.cell_px
        corner = np.array([self._row[site] + row, self._col[site] + col], float)
        centre, reach = corner + (size_px - 1) / 2, reach_m / self.pixel_m
        first = np.clip(np.ceil((centre - reach - (cell - 1) / 2) / cell), 0, dem.shape).astype(int)
        last = np.clip(np.floor((centre + reach - (cell - 1) / 2) / cell) + 1, first, dem.shape).astype(int)
        z = dem[first[0] : last[0], first[1] : last[1]].astype(np.float64)
        begin = first * cell + (cell - 1) / 2
        rows = begin[0] + cell * np.arange(z.shape[0]) - centre[0]
        cols = begin[1] + cell * np.arange(z.shape[1]) - centre[1]
        z[np.hypot.outer(rows, cols) > reach] = np.nan
        place = begin - (corner - halo_px)
        return FarTerrain(z, cell, float(place[0]), float(place[1]))
