"""The a priori DEM of a map: read, checked, filled where it casts shadows, honest where it has no data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.site import SiteSection
from pipeline.maps.layout import Layout
from pipeline.storage.store import StoreWriter, read_store, store_attrs
from pipeline.terrain.grid import RasterError
from pipeline.terrain.map_grid import MapGrid, lunar_projection
from pipeline.terrain.readers import Raster
from pipeline.terrain.site_raster import SiteRaster, heights_in_metres, open_site_raster

Floats = NDArray[np.float64]

SCHEMA = "ground"

# Samples of a DEM that are in memory at a time, about.
_SAMPLES = 2**21


@dataclass(frozen=True)
class SiteGround:
    """The a priori DEM on the map's working area of H x W pixels, metres above the DEM's datum.

    Attributes
    ----------
    layout : where it lies.
    cells : (H / factor + 2 halo_cells, W / factor + 2 halo_cells) mean heights of the cells; NaN where a cell
        has no data.
    dem : (H, W) the a priori DEM: the cells' bicubic where it is coarse, its own heights where it is fine;
        filled where `known` is False.
    known : (H, W) whether it has data.
    surface : (H + 2 margin_px, W + 2 margin_px) float32, the terrain around too; NaN where there is none.
    count, error : (H, W) altimetry spots per pixel and 1-sigma error, metres; None where not given.
    notes : what was done to the heights.
    """

    layout: Layout
    halo_cells: int
    margin_px: int
    cells: Floats
    dem: Floats
    known: NDArray[np.bool_]
    surface: NDArray[np.float32]
    count: NDArray[np.float32] | None = None
    error: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()

    def save(self, path: Path | str) -> None:
        """Write a store of schema ``ground/1``."""
        attrs = {
            "layout": self.layout.to_json(), "halo_cells": self.halo_cells, "margin_px": self.margin_px,
            "notes": list(self.notes),
        }  # fmt: skip
        with StoreWriter(path, SCHEMA, attrs) as store:
            store.write("cells", self.cells, ("cell_y", "cell_x"))
            for name in ("dem", "known"):
                store.write(name, getattr(self, name), ("y", "x"), (512, 512), compress=True)
            store.write("surface", self.surface, ("wide_y", "wide_x"), (512, 512), compress=True)
            for name in ("count", "error"):
                if (values := getattr(self, name)) is not None:
                    store.write(name, values, ("y", "x"), (512, 512), compress=True)

    @classmethod
    def load(cls, path: Path | str) -> SiteGround:
        """Read what `save` wrote."""
        store, attrs = read_store(path, schema=SCHEMA), store_attrs(path)
        arrays = {name: store[name].values for name in ("cells", "dem", "known", "surface")}
        more = {name: store[name].values for name in ("count", "error") if name in store}
        layout = Layout.from_json(attrs["layout"])
        notes = tuple(attrs["notes"])
        return cls(layout, attrs["halo_cells"], attrs["margin_px"], **arrays, **more, notes=notes)


def read_ground(section: SiteSection, layout: Layout, halo_cells: int, light_m: float) -> SiteGround:
    """Read a site's a priori DEM onto its layout.

    Parameters
    ----------
    section : files and unit. layout : of the map. halo_cells : cells around it that the network sees.
    light_m : terrain within so many metres of the map casts shadows, as far as the DEM reaches.

    Raises
    ------
    RasterError
        If a file is unusable or has no data on the map, or another map lies on another grid than the DEM.
    """
    assert section.dem is not None
    raster = open_site_raster(section.dem)
    try:
        return _read(section, layout, raster, halo_cells, light_m)
    finally:
        raster.close()


def _read(
    section: SiteSection, layout: Layout, raster: Raster, halo_cells: int, light_m: float
) -> SiteGround:
    import torch

    from pipeline.models.apriori import prior_from_lr

    grid, factor, dem_name = layout.grid, layout.factor, str(section.dem)
    rows, cols = grid.height, grid.width
    margin = max(halo_cells * factor, _margin(layout, raster, light_m))
    step = factor if layout.kind == "coarse" else 1
    margin = -(-margin // step) * step
    wide, notes = _heights(section, raster, layout, margin // step)
    inner = (
        slice(margin // step, margin // step + rows // step),
        slice(margin // step, margin // step + cols // step),
    )
    seen = np.isfinite(wide[inner])
    if not seen.any():
        raise RasterError(f"{dem_name}: expected heights on the map ({grid.describe()}), found none")
    known = seen.repeat(step, axis=0).repeat(step, axis=1)
    if layout.kind == "coarse":
        first = margin // step - halo_cells
        cut = (
            slice(first, first + rows // step + 2 * halo_cells),
            slice(first, first + cols // step + 2 * halo_cells),
        )
        cells = wide[cut]
        surface = prior_from_lr(torch.from_numpy(filled(wide)), 0, factor).numpy()
        surface[~np.isfinite(wide).repeat(step, axis=0).repeat(step, axis=1)] = np.nan
        dem = prior_from_lr(torch.from_numpy(filled(cells)), halo_cells, factor).numpy()
    else:
        reach = halo_cells * factor
        around = wide[margin - reach : margin + rows + reach, margin - reach : margin + cols + reach]
        cells = block_nanmean(around, factor)
        surface, dem = wide, filled(wide[inner])
    more: dict[str, Any] = {}
    for name, path in (("count", section.count), ("error", section.error)):
        if path is not None:
            more[name] = _beside(name, path, raster, layout)
    return SiteGround(
        layout, halo_cells, margin, cells, np.asarray(dem, np.float64), known,
        filled_between(surface).astype(np.float32), **more, notes=tuple(notes),
    )  # fmt: skip


def _margin(layout: Layout, raster: Raster, light_m: float) -> int:
    """Map pixels around the map that the DEM has and that may cast shadows."""
    grid = layout.grid
    most = int(np.ceil(light_m / grid.pixel_m))
    if layout.kind == "resampled":
        return most
    step = layout.factor if layout.kind == "coarse" else 1
    beyond = (
        layout.dem_row, layout.dem_col, raster.grid.height - layout.dem_row - grid.height // step,
        raster.grid.width - layout.dem_col - grid.width // step,
    )  # fmt: skip
    return min(most, max(0, *beyond) * step)


def _heights(section: SiteSection, raster: Raster, layout: Layout, margin: int) -> tuple[Floats, list[str]]:
    """Heights on the DEM's own pixels, or the map's where resampled, with a margin; and notes."""
    values = _on_layout(raster, layout, margin)
    size = raster.ground_pixel_m if isinstance(raster, SiteRaster) else raster.grid.pixel_m
    if not np.isfinite(values).any():
        raise RasterError(f"{section.dem}: expected heights on the map, found none but missing pixels")
    return heights_in_metres(str(section.dem), values, size, section.height_unit)


def _on_layout(raster: Raster, layout: Layout, margin: int) -> Floats:
    step = layout.factor if layout.kind == "coarse" else 1
    rows, cols = layout.grid.height // step, layout.grid.width // step
    if layout.kind != "resampled":
        row, col = layout.dem_row - margin, layout.dem_col - margin
        window = raster.read(row, row + rows + 2 * margin, col, col + cols + 2 * margin)
        return window.astype(np.float64)
    return resampled(raster, layout, margin)


def resampled(raster: Raster, layout: Layout, margin: int) -> Floats:
    """A raster on the map's pixels: the mean of finer pixels, bilinear between coarser ones.

    Parameters
    ----------
    raster : any. layout : of the map. margin : map pixels around it.
    """
    wide = layout.grid.window(
        -margin, -margin, layout.grid.height + 2 * margin, layout.grid.width + 2 * margin
    )
    if isinstance(raster, SiteRaster):
        projection, transform, size = raster.projection, raster.transform, raster.ground_pixel_m
    else:
        projection = lunar_projection(raster.grid.crs_wkt)
        transform, size = raster.grid.transform, raster.grid.pixel_m

    def on_file(row: Floats, col: Floats) -> tuple[Floats, Floats]:
        x, y = projection.xy(*wide.lonlat(row, col))
        if projection.geographic:
            # The file's longitudes may run to 360.
            middle = transform.c + transform.a * raster.grid.width / 2
            x = (x - middle + 180) % 360 - 180 + middle
        return x, y

    x, y = on_file(*np.meshgrid(np.linspace(0, wide.height, 33), np.linspace(0, wide.width, 33)))
    across, down = (x - transform.c) / transform.a, (y - transform.f) / transform.e
    row0, row1 = int(np.floor(down.min())) - 4, int(np.ceil(down.max())) + 4
    col0, col1 = int(np.floor(across.min())) - 4, int(np.ceil(across.max())) + 4
    if projection.geographic and _has_pole(wide):
        # Around a pole are all longitudes, and points beside it do not tell how near it the map comes.
        col0, col1 = 0, raster.grid.width
        row0, row1 = (0, row1) if wide.pole > 0 else (row0, raster.grid.height)
    row0, row1 = max(row0, 0), min(row1, raster.grid.height)
    col0, col1 = max(col0, 0), min(col1, raster.grid.width)
    if row0 >= row1 or col0 >= col1:
        return np.full((wide.height, wide.width), np.nan)
    source = raster.read(row0, row1, col0, col1).astype(np.float64)
    # Finer pixels are averaged over samples between them: means of whole pixels would tilt a slope.
    fine = math.ceil(wide.pixel_m / size) if size < 0.75 * wide.pixel_m else 1
    whole_circle = projection.geographic and math.isclose(source.shape[1] * transform.a, 360, rel_tol=1e-6)
    out = np.empty((wide.height, wide.width))
    step = max(1, _SAMPLES // (wide.width * fine * fine))
    cols = (np.arange(wide.width * fine) + 0.5) / fine - 0.5
    for top in range(0, wide.height, step):
        bottom = min(top + step, wide.height)
        rows = (np.arange(top * fine, bottom * fine) + 0.5) / fine - 0.5
        x, y = on_file(*np.meshgrid(rows, cols, indexing="ij"))
        down, across = (
            (y - transform.f) / transform.e - row0 - 0.5,
            (x - transform.c) / transform.a - col0 - 0.5,
        )
        samples = _between(source, down, across, whole_circle)
        out[top:bottom] = block_nanmean(samples, fine) if fine > 1 else samples
    return out


def _between(source: Floats, row: Floats, col: Floats, whole_circle: bool) -> Floats:
    """Heights between the centres of pixels, bilinear over those with data; NaN where they weigh too little.

    With `whole_circle` the last column lies beside the first.
    """
    height, width = source.shape
    first, left = np.floor(row).astype(np.int64), np.floor(col).astype(np.int64)
    total, weight = np.zeros(row.shape), np.zeros(row.shape)
    known = np.isfinite(source)
    held = np.where(known, source, 0.0)
    for i in (0, 1):
        for j in (0, 1):
            at, beside = first + i, left + j
            share = np.abs(1 - i - (row - first)) * np.abs(1 - j - (col - left))
            inside = (at >= 0) & (at < height)
            if not whole_circle:
                inside &= (beside >= 0) & (beside < width)
            here = np.where(inside, at, 0), np.where(inside, beside % width, 0)
            share = np.where(inside & known[here], share, 0.0)
            total += share * held[here]
            weight += share
    # The pixel that a place lies in weighs at least a quarter, but for rounding.
    return np.where(weight >= 0.25 - 1e-9, total / np.maximum(weight, 1e-9), np.nan)


def _beside(name: str, path: str, dem: Raster, layout: Layout) -> NDArray[np.float32]:
    """A count or error map, which lies on the DEM's grid, on the map's pixels."""
    raster = open_site_raster(path)
    try:
        if isinstance(raster, SiteRaster) and isinstance(dem, SiteRaster):
            same = (raster.grid.height, raster.grid.width) == (dem.grid.height, dem.grid.width)
            same = same and _same_place(raster, dem)
        else:
            same = raster.grid.same_as(dem.grid)
        if not same:
            raise RasterError(
                f"{path}: expected the grid of the DEM {dem.name} ({dem.grid.height} x {dem.grid.width} "
                f"pixels), found another ({raster.grid.height} x {raster.grid.width} pixels); site.{name} "
                "lies on the DEM"
            )
        values = _on_layout(raster, layout, 0)
        step = layout.factor if layout.kind == "coarse" else 1
        values = values.repeat(step, axis=0).repeat(step, axis=1)
    finally:
        raster.close()
    if (values < 0).any():
        raise RasterError(f"{path}: expected values of at least 0, found {np.nanmin(values):g}")
    return values.astype(np.float32)


def _has_pole(grid: MapGrid) -> bool:
    """Whether the pole of its hemisphere lies on a grid."""
    row, col = (float(v) for v in grid.rowcol(*grid.projection.xy(0.0, 90.0 * grid.pole)))
    return -1 <= row <= grid.height and -1 <= col <= grid.width


def _same_place(one: SiteRaster, other: SiteRaster) -> bool:
    """Whether two rasters of one shape lie alike to a thousandth of a pixel, whatever their CRS is called."""
    if one.projection.geographic != other.projection.geographic:
        return False
    if not one.transform.almost_equals(other.transform, 1e-3 * abs(other.transform.a)):
        return False
    there, here = (other.projection.xy(*raster.lonlat_box()) for raster in (one, other))
    return bool(np.allclose(there, here, rtol=0, atol=1e-3 * abs(other.transform.a)))


def block_nanmean(dem: Floats, factor: int) -> Floats:
    """Block means over the pixels with data; NaN where a block has none in a quarter of its pixels.

    Parameters
    ----------
    dem : (rows, cols), whole blocks. factor : pixels per block along each axis.
    """
    blocks = dem.reshape(dem.shape[0] // factor, factor, dem.shape[1] // factor, factor)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0.0).sum(axis=(1, 3))
    return np.where(count * 4 >= factor**2, total / np.maximum(count, 1), np.nan)


def filled(values: Floats) -> Floats:
    """Holes filled from around, smoothly inside, and held at the nearest value beyond the data's edge."""
    from pipeline.shards.batches import fill_nearest

    return np.asarray(fill_nearest(filled_between(values)), dtype=np.float64)


def filled_between(values: Floats) -> Floats:
    """Holes that data surround filled by inverse distances; NaN stays where the terrain ends."""
    known = np.isfinite(values)
    if known.all():
        return values
    from rasterio.fill import fillnodata
    from scipy import ndimage

    parts, _ = ndimage.label(~known)
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    inside = ~known & ~np.isin(parts, edge)
    if not inside.any():
        return values
    middle = float(np.mean(values[known]))
    # Single precision about the mean is enough for what is a guess; beyond the data there is nothing to find.
    box = ndimage.find_objects(known.astype(np.uint8))[0]
    shifted = np.where(known, values - middle, 0).astype(np.float32)[box]
    mask = known[box].astype(np.uint8)
    guess = fillnodata(shifted, mask=mask, max_search_distance=float(max(values.shape)))
    out = values.copy()
    out[box] = np.where(inside[box], guess + middle, values[box])
    return out
