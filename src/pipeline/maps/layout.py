"""Layout of a map: its grid, and the position of the a priori DEM's pixels on it.

Only headers are read, so that a run can be planned, and refused, before any work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from pipeline.config.site import SiteSection
from pipeline.terrain.grid import Grid, GridError
from pipeline.terrain.map_grid import LunarProjection, MapGrid, local_projection, lunar_projection
from pipeline.terrain.site_raster import SiteRaster, open_site_raster

Floats = NDArray[np.float64]
Kind = Literal["coarse", "fine", "resampled"]

_SAME = 1e-6
# Tolerance, in pixels, within which a corner lies on a pixel's corner.
_ON = 1e-3
# Largest ratio of pixel sizes of map and DEM: a larger one indicates a wrong unit.
_MOST_APART = 64
# Least share of a map that must lie on the DEM: a smaller one indicates a wrong unit of place or size.
_LEAST_ON_DEM = 0.05


@dataclass(frozen=True)
class Layout:
    """A map's grid and its relation to the DEM.

    Attributes
    ----------
    grid : of the working area: whole cells, at least one window.
    row, col, height, width : the requested map, in pixels of the working area.
    kind : of the DEM: ``coarse`` (one pixel per cell), ``fine`` (one per map pixel), or ``resampled``.
    dem_row, dem_col : the working area's top-left pixel in the DEM, in the DEM's pixels; 0 where resampled.
    factor : map pixels per cell.
    exact_cells : whether the map keeps the mean height of each cell.
    notes : for the log: changes to the DEM or the map's position.
    """

    grid: MapGrid
    row: int
    col: int
    height: int
    width: int
    kind: Kind
    dem_row: int
    dem_col: int
    factor: int
    exact_cells: bool
    notes: tuple[str, ...] = ()

    @property
    def region(self) -> MapGrid:
        """Grid of the requested map."""
        return self.grid.window(self.row, self.col, self.height, self.width)

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` inverts this exactly."""
        return {**vars(self), "grid": self.grid.to_json(), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Layout:
        """Make a layout from what `to_json` gave."""
        grid = MapGrid.from_json(value["grid"])
        assert isinstance(grid, MapGrid)
        return cls(**{**value, "grid": grid, "notes": tuple(value["notes"])})


def lay_out(section: SiteSection, factor: int, window_px: int) -> Layout:
    """Decide a map's grid from the DEM's header and the section `site`.

    Parameters
    ----------
    section : of the site, with a DEM. factor : map pixels per cell. window_px : side of a network's window.

    Raises
    ------
    RasterError
        If the DEM is unusable.
    ValueError
        If the requested place is not on it; the message names the key.
    """
    assert section.dem is not None
    raster = open_site_raster(section.dem)
    try:
        own, size, notes = _own_grid(raster)
        kind, pixel = _kind(section.pixel_m, own, size, factor)
        asked = _asked(section, raster, own.projection if own else None)
        if kind == "resampled" or own is None:
            layout = _resampled(section, asked, pixel, factor, window_px, size, notes)
        else:
            layout = _on_lattice(section, own, asked, kind, pixel, factor, window_px, notes)
        _check_extent(section, layout.region, raster)
        return layout
    finally:
        raster.close()


def _own_grid(raster: Any) -> tuple[MapGrid | None, float, list[str]]:
    """The DEM's grid, if a map can be made on it; the size of its pixels, metres; notes."""
    grid: Grid = raster.grid
    if isinstance(raster, SiteRaster) and not raster.square:
        kind = "geographic coordinates" if raster.projection.geographic else "pixels that are not square"
        size = raster.ground_pixel_m
        return (
            None,
            size,
            [f"DEM resampled to a local stereographic grid: it has {kind} of about {size:.4g} m"],
        )
    own = MapGrid(grid.crs_wkt, grid.transform, grid.width, grid.height)
    middle = own.lonlat((grid.height - 1) / 2, (grid.width - 1) / 2)
    if not own.projection.conformal(float(middle[0]), float(middle[1])):
        note = "DEM resampled to a local stereographic grid: its projection is not conformal there"
        return None, own.true_pixel_m((grid.height - 1) / 2, (grid.width - 1) / 2), [note]
    return own, own.pixel_m, []


def _kind(asked: float | None, own: MapGrid | None, size: float, factor: int) -> tuple[Kind, float]:
    """Kind of layout for a DEM with pixels of `size` metres, and the map's pixel size, metres."""
    pixel = size if asked is None else asked
    if not size / _MOST_APART <= pixel <= size * _MOST_APART:
        raise GridError(
            f"site.pixel_m: expected {size / _MOST_APART:g} to {size * _MOST_APART:g} m for a DEM with "
            f"pixels of {size:g} m, found {pixel:g}"
        )
    if own is None:
        return "resampled", round(pixel, 3)
    if math.isclose(pixel, size, rel_tol=_SAME):
        return "fine", size
    if math.isclose(pixel * factor, size, rel_tol=_SAME):
        return "coarse", size / factor
    return "resampled", pixel


@dataclass(frozen=True)
class _Asked:
    """The box of a map, in the coordinates of `projection`: left, bottom, right, top."""

    projection: LunarProjection
    box: tuple[float, float, float, float]
    centre: tuple[float, float]  # lon, lat
    sized: bool


def _asked(section: SiteSection, raster: Any, own: LunarProjection | None) -> _Asked:
    dem = raster.projection if isinstance(raster, SiteRaster) else lunar_projection(raster.grid.crs_wkt)
    said = lunar_projection(section.crs, "site.crs") if section.crs else dem
    transform = raster.transform if isinstance(raster, SiteRaster) else raster.grid.transform
    width, height = raster.grid.width, raster.grid.height
    whole = (transform.c, transform.f + height * transform.e, transform.c + width * transform.a, transform.f)
    if section.center_m is not None:
        x, y = section.center_m
        lon, lat = (float(v) for v in said.lonlat(x, y))
        centre = (lon, lat)
        if not (math.isfinite(lon) and math.isfinite(lat)):
            raise ValueError(f"site.center_m: expected a place on the map, found {section.center_m}")
        inside = _turned(dem, whole, *dem.xy(lon, lat))
        at = _turned(own, whole, *own.xy(lon, lat)) if own is not None else inside
        asked = _Asked(own or dem, (float(at[0]), float(at[1]), float(at[0]), float(at[1])), centre, True)
        if not (whole[0] <= inside[0] <= whole[2] and whole[1] <= inside[1] <= whole[3]):
            raise ValueError(
                f"site.center_m: expected a place on the DEM, {_said(whole)} in its CRS, found "
                f"{section.center_m} "
                f"({float(inside[0]):.6g}, {float(inside[1]):.6g} in the DEM's CRS)"
            )
        return asked
    box, projection = (section.bounds, said) if section.bounds is not None else (whole, dem)
    if projection.metres != 1:
        left, bottom, right, top = (v * projection.metres for v in box)
        box, projection = (left, bottom, right, top), projection.in_metres()
    if own is not None:
        # The DEM's own coordinates stay as they are: a box may end at the seam of a cylindrical map.
        box, projection = box if projection is dem else _moved(box, projection, own, whole), own
    if projection in (dem, own):
        box = _box_turned(projection, whole, box)
    apart = box if projection in (dem, own) else _moved(box, projection, dem, whole)
    if apart[2] <= whole[0] or apart[0] >= whole[2] or apart[3] <= whole[1] or apart[1] >= whole[3]:
        raise ValueError(f"site.bounds: expected a part of the DEM, {_said(whole)}, found {_said(apart)}")
    lon, lat = (float(v) for v in projection.lonlat((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
    return _Asked(projection, box, (lon, lat), False)


def _check_extent(section: SiteSection, region: MapGrid, raster: Any) -> None:
    """Refuse a map that lies almost completely outside the DEM."""
    dem = raster.projection if isinstance(raster, SiteRaster) else lunar_projection(raster.grid.crs_wkt)
    transform = raster.transform if isinstance(raster, SiteRaster) else raster.grid.transform
    width, height = raster.grid.width, raster.grid.height
    whole = (transform.c, transform.f + height * transform.e, transform.c + width * transform.a, transform.f)
    steps = (np.arange(64) + 0.5) / 64
    row, col = np.meshgrid(steps * region.height - 0.5, steps * region.width - 0.5, indexing="ij")
    x, y = _turned(dem, whole, *dem.xy(*region.lonlat(row, col)))
    share = float(np.mean((x >= whole[0]) & (x <= whole[2]) & (y >= whole[1]) & (y <= whole[3])))
    if share < _LEAST_ON_DEM:
        key = "site.bounds" if section.size_px is None else "site.size_px"
        raise ValueError(
            f"{key}: expected a map on the DEM of {height} x {width} pixels, {_said(whole)}, found one of "
            f"{region.height} x {region.width} pixels of {region.pixel_m:g} m, {share:.0%} of it on the DEM"
        )


def _turned(
    dem: LunarProjection, whole: tuple[float, float, float, float], x: ArrayLike, y: ArrayLike
) -> tuple[Floats, Floats]:
    """Coordinates on a DEM whose longitudes may run to 360, in degrees or as x of a cylindrical map."""
    return dem.turned(x, (whole[0] + whole[2]) / 2), np.asarray(y, dtype=np.float64)


def _box_turned(
    dem: LunarProjection, whole: tuple[float, float, float, float], box: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """A box in a DEM's projection, by whole turns of longitude if it lies beside the DEM without them."""
    if dem.circle is None or (box[0] < whole[2] and box[2] > whole[0]):
        return box
    middle = (box[0] + box[2]) / 2
    by = round((float(_turned(dem, whole, middle, box[1])[0]) - middle) / dem.circle) * dem.circle
    return box[0] + by, box[1], box[2] + by, box[3]


def _said(box: tuple[float, ...]) -> str:
    return "x {0:.6g} to {2:.6g}, y {1:.6g} to {3:.6g}".format(*box)


def _moved(
    box: tuple[float, float, float, float], before: LunarProjection, after: LunarProjection,
    whole: tuple[float, float, float, float] | None = None,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Bounding box of a box in another projection; `whole` is the DEM's box, for its longitudes."""
    x, y = np.meshgrid(np.linspace(box[0], box[2], 33), np.linspace(box[1], box[3], 33))
    u, v = after.xy(*before.lonlat(x, y))
    if whole is not None:
        u, v = _turned(after, whole, u, v)
    return float(np.min(u)), float(np.min(v)), float(np.max(u)), float(np.max(v))


def _size(section: SiteSection, box: tuple[float, float, float, float], pixel: float) -> tuple[int, int]:
    """Rows and columns of the map."""
    if section.size_px is not None:
        return section.size_px, section.size_px
    return max(1, math.ceil((box[3] - box[1]) / pixel - _ON)), max(
        1, math.ceil((box[2] - box[0]) / pixel - _ON)
    )


def _corner(
    section: SiteSection, box: tuple[float, float, float, float], pixel: float
) -> tuple[float, float]:
    """Left and top of the map."""
    if section.size_px is None:
        return box[0], box[3]
    half = section.size_px * pixel / 2
    return box[0] - half, box[3] + half


def _on_lattice(
    section: SiteSection, own: MapGrid, asked: _Asked, kind: Kind, pixel: float, factor: int, window: int,
    notes: list[str],
) -> Layout:  # fmt: skip
    """Layout on the DEM's own pixels (fine) or cells (coarse)."""
    left, top = _corner(section, asked.box, pixel)
    height, width = _size(section, asked.box, pixel)
    x0, y0 = own.origin
    across, down = (left - x0) / pixel, (y0 - top) / pixel
    col, row = round(across), round(down)
    if abs(col - across) > _ON or abs(row - down) > _ON:
        notes.append(
            f"map moved by up to half a pixel onto the DEM's pixels ({across - col:+.2f}, {down - row:+.2f})"
        )
    step = factor if kind == "coarse" else 1
    first_row, first_col = (math.floor(v / step) * step for v in (row, col))
    rows, cols = (_whole(n, factor, window) for n in (row + height - first_row, col + width - first_col))
    x, y = x0 + first_col * pixel, y0 - first_row * pixel
    grid = MapGrid(own.crs_wkt, Affine(pixel, 0.0, x, 0.0, -pixel, y), cols, rows)
    exact = kind == "coarse" if section.exact_cells is None else section.exact_cells
    return Layout(
        grid, row - first_row, col - first_col, height, width, kind, first_row // step, first_col // step,
        factor, exact, tuple(notes),
    )  # fmt: skip


def _resampled(
    section: SiteSection, asked: _Asked, pixel: float, factor: int, window: int, size: float, notes: list[str]
) -> Layout:
    """Layout on a grid of the map's own, to which the DEM is resampled."""
    projection, box = asked.projection, asked.box
    lon, lat = asked.centre
    if not projection.conformal(lon, lat):
        projection = local_projection(lon, lat, projection.radius_m)
        box = (0.0, 0.0, 0.0, 0.0) if asked.sized else _moved(box, asked.projection, projection)
        # The map of a hemisphere reaches two radii.
        if not max(map(abs, box)) <= 2 * projection.radius_m:
            raise ValueError(
                f"site.bounds: expected a part of the Moon smaller than a hemisphere ({section.dem} covers "
                f"more: give site.bounds, or site.center_m and site.size_px), found {section.bounds}"
            )
    if not notes:
        notes = [f"DEM resampled from {size:g} to {pixel:g} m per pixel"]
    left, top = _corner(section, box, pixel)
    height, width = _size(section, box, pixel)
    rows, cols = (_whole(n, factor, window) for n in (height, width))
    grid = MapGrid(projection.wkt_text, Affine(pixel, 0.0, left, 0.0, -pixel, top), cols, rows)
    if section.exact_cells:
        raise GridError("site.exact_cells: expected null or false with a DEM that is resampled, found true")
    return Layout(grid, 0, 0, height, width, "resampled", 0, 0, factor, False, tuple(notes))


def _whole(length: int, factor: int, window: int) -> int:
    """A length in pixels rounded up to whole cells, at least a window."""
    return max(-(-length // factor) * factor, window)
