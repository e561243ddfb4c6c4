"""The a priori DEM of a map: read, checked, with holes filled for shadows and marked as unknown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.site import SiteSection
from pipeline.illumination.far import FarTerrain
from pipeline.maps.beside import refuse_another_grid
from pipeline.maps.far import HALO_CELLS, Horizon, open_horizon
from pipeline.maps.layout import Layout
from pipeline.storage.store import StoreWriter, read_store, store_attrs
from pipeline.terrain.blocks import fill_nearest
from pipeline.terrain.grid import RasterError
from pipeline.terrain.readers import Raster
from pipeline.terrain.sampling import block_nanmean, datum_offset, resampled, summed
from pipeline.terrain.site_raster import SiteRaster, heights_in_metres, open_site_raster

Floats = NDArray[np.float64]

SCHEMA = "ground"


@dataclass(frozen=True)
class SiteGround:
    """The a priori DEM on the map's working area of H x W pixels, metres above the DEM's datum.

    Attributes
    ----------
    layout : grid of the map and the DEM's position on it.
    halo_cells, margin_px : width of `cells` and of `surface` around the working area.
    cells : (H / factor + 2 halo_cells, W / factor + 2 halo_cells) mean heights of the cells; NaN where a cell
        has no data.
    dem : (H, W) the a priori DEM: where it is coarse, the cells' bicubic, with their means if the map keeps
        them; its own heights where it is fine; filled where `known` is False.
    known : (H, W) bool, pixels with data.
    surface : (H + 2 margin_px, W + 2 margin_px) float32, with the terrain around; NaN where there is none.
    count, error : (H, W) altimetry spots per pixel and 1-sigma error, metres; None where not given.
    far : coarser terrain beyond `surface`, whose row 0 and column 0 are the map's; None where not given.
    notes : changes made to the heights, for the log.
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
    far: FarTerrain | None = None
    notes: tuple[str, ...] = ()

    def save(self, path: Path | str) -> None:
        """Write a store of schema ``ground/1``."""
        attrs: dict[str, Any] = {
            "layout": self.layout.to_json(), "halo_cells": self.halo_cells, "margin_px": self.margin_px,
            "notes": list(self.notes),
        }  # fmt: skip
        if self.far is not None:
            attrs["far"] = {"cell_px": self.far.cell_px, "row": self.far.row, "col": self.far.col}
        with StoreWriter(path, SCHEMA, attrs) as store:
            if self.far is not None:
                store.write("far", self.far.z, ("far_y", "far_x"))
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
        far = FarTerrain(store["far"].values, **attrs["far"]) if "far" in attrs else None
        layout = Layout.from_json(attrs["layout"])
        notes = tuple(attrs["notes"])
        return cls(layout, attrs["halo_cells"], attrs["margin_px"], **arrays, **more, far=far, notes=notes)


def read_ground(
    section: SiteSection, layout: Layout, halo_cells: int, light_m: float, far_m: float = 200_000.0
) -> SiteGround:
    """Read a site's a priori DEM onto its layout.

    Parameters
    ----------
    section : files and unit. layout : of the map. halo_cells : cells around it that the network needs.
    light_m : terrain within this distance of the map casts shadows, as far as the DEM reaches, metres.
    far_m : the same for the coarser DEM `section.far`, metres.

    Raises
    ------
    RasterError
        If a file is unusable or has no data on the map, or the count or error map has another grid than the
        DEM.
    """
    assert section.dem is not None
    horizon = None if section.far is None else open_horizon(section.far, layout.grid, far_m)
    raster = open_site_raster(section.dem)
    try:
        ground = _read(section, layout, raster, halo_cells, light_m, horizon)
        return ground if horizon is None else _with_far(ground, section, horizon, far_m)
    finally:
        raster.close()
        if horizon is not None:
            horizon.raster.close()


def _with_far(ground: SiteGround, section: SiteSection, horizon: Horizon, far_m: float) -> SiteGround:
    """The ground with the far terrain, which also fills the surface beyond the DEM's edge."""
    grid, m = ground.layout.grid, ground.margin_px
    wide = grid.window(-m, -m, grid.height + 2 * m, grid.width + 2 * m)
    near = horizon.heights(wide, section.height_unit)
    offset = datum_offset(ground.surface, near)
    surface = np.where(np.isfinite(ground.surface), ground.surface, near + offset).astype(np.float32)
    far = horizon.around(grid, far_m, section.height_unit)
    notes = *ground.notes, f"far terrain {Path(str(section.far)).name} moved by {offset:.1f} m to the DEM"
    return replace(ground, surface=surface, far=replace(far, z=far.z + offset), notes=notes)


def _read(
    section: SiteSection,
    layout: Layout,
    raster: Raster,
    halo_cells: int,
    light_m: float,
    horizon: Horizon | None,
) -> SiteGround:
    import torch

    from pipeline.terrain.bicubic import cells_for_means, prior_from_lr

    grid, factor, dem_name = layout.grid, layout.factor, str(section.dem)
    rows, cols = grid.height, grid.width
    margin = max(halo_cells * factor, _margin(layout, raster, light_m))
    if horizon is not None:
        margin = max(margin, HALO_CELLS * horizon.cell_px)
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
        held = filled(cells)
        held = cells_for_means(held, factor) if layout.exact_cells else held
        dem = prior_from_lr(torch.from_numpy(held), halo_cells, factor).numpy()
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
    """Number of map pixels around the map that the DEM covers and that may cast shadows."""
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
    wide = layout.grid.window(-margin, -margin, rows + 2 * margin, cols + 2 * margin)
    return resampled(raster, wide)


def _beside(name: str, path: str, dem: Raster, layout: Layout) -> NDArray[np.float32]:
    """A count or error map, given on the DEM's grid, on the map's pixels.

    Where the error is not known it is taken for the largest on the map.
    """
    raster = open_site_raster(path)
    try:
        refuse_another_grid(name, path, raster, dem)
        if name == "count" and layout.kind == "resampled":
            values = summed(raster, layout.grid)
        else:
            values = _on_layout(raster, layout, 0)
        step = layout.factor if layout.kind == "coarse" else 1
        # Spots of a cell may lie anywhere in it: they are divided among its pixels.
        share = step**2 if name == "count" else 1
        values = (values / share).repeat(step, axis=0).repeat(step, axis=1)
    finally:
        raster.close()
    if (values < 0).any():
        raise RasterError(f"{path}: expected values of at least 0, found {np.nanmin(values):g}")
    if name == "error":
        known = np.isfinite(values)
        if not known.any():
            raise RasterError(
                f"{path}: expected errors on the map ({layout.grid.describe()}), found none but missing "
                "pixels (site.error)"
            )
        values = np.where(known, values, values[known].max())
    return values.astype(np.float32)


def filled(values: Floats) -> Floats:
    """Values (rows, cols) without holes: interpolated inside the data, the nearest value beyond."""
    return np.asarray(fill_nearest(filled_between(values)), dtype=np.float64)


def filled_between(values: Floats) -> Floats:
    """Values (rows, cols) with enclosed holes filled by inverse distances; NaN stays beyond the edge."""
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
    # Single precision about the mean is enough for interpolated values; the data's bounding box is enough.
    box = ndimage.find_objects(known.astype(np.uint8))[0]
    shifted = np.where(known, values - middle, 0).astype(np.float32)[box]
    mask = known[box].astype(np.uint8)
    guess = fillnodata(shifted, mask=mask, max_search_distance=float(max(values.shape)))
    out = values.copy()
    out[box] = np.where(inside[box], guess + middle, values[box])
    return out
