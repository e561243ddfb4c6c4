"""Visibility of the Sun from the pixels of a region, ray-traced with its halo and the far terrain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.illumination import IlluminationSection
from pipeline.illumination.far import FarDem, FarTerrain
from pipeline.illumination.sweep import whole_window_engine
from pipeline.jobs.progress import progress
from pipeline.region.ground import Ground
from pipeline.region.place import Place

# Memory of unpacked results of shadow tests, bytes.
_TRACE_BYTES = 2**28


@dataclass(frozen=True)
class Shadows:
    """Visibility of the Sun over a region.

    Attributes
    ----------
    values : (D, S, ceil(S / 8)) u1, bits packed along x; or (D, S, S) u1, visible share of the disc x 255.
    packed : whether `values` are packed bits.
    """

    values: NDArray[np.uint8]
    packed: bool

    def read(
        self, directions: NDArray[np.int64], row0: int, row1: int, col0: int, col1: int
    ) -> NDArray[np.float32]:
        """Visible share, (n, rows, cols) in [0, 1], of the given directions in a window."""
        if not self.packed:
            return self.values[directions, row0:row1, col0:col1].astype(np.float32) / np.float32(255)
        first = col0 // 8
        part = np.unpackbits(self.values[directions, row0:row1, first : -(-col1 // 8)], axis=-1)
        return part[..., col0 - 8 * first : col1 - 8 * first].astype(np.float32)


def far_around(store: Path | str, place: Place, light: IlluminationSection) -> FarTerrain:
    """Terrain beyond the halo of a region that casts shadows into it.

    It extends `light.far_m` beyond the region's corners, so that every pixel has at least as much far terrain
    as a patch.

    Parameters
    ----------
    store : store of schema ``far`` of the whole terrain; '' for none.
    place : the region. light : extent of the far terrain, and size of its blocks.

    Raises
    ------
    ValueError
        If there is no store, or its blocks are not those of the config.
    """
    if not store:
        raise ValueError(f"illumination.far_m = {light.far_m:g}: expected a store of far terrain, found none")
    far = FarDem(store)
    if far.cell_px != light.far_cell_px:
        raise ValueError(
            f"{store}: expected blocks of illumination.far_cell_px = {light.far_cell_px} pixels, found "
            f"{far.cell_px}"
        )
    reach = light.far_m + place.size_px * far.pixel_m / np.sqrt(2)
    return far.around(place.site, place.row, place.col, place.size_px, light.halo_px, float(reach))


def trace_region(
    ground: Ground, suns: NDArray[np.float32], light: IlluminationSection, far: FarTerrain | None = None
) -> Shadows:
    """Visibility over the whole region with the configured engine.

    Shadows are cast by the region, `light.halo_px` pixels around it, and the far terrain. Directions are
    sorted by rising elevation, so that an engine prepares the terrain once; only a bounded number of them is
    unpacked in memory.

    Parameters
    ----------
    ground : the terrain. suns : (D, 3) unit vectors, map frame. light : engine, halo, kind of Sun.
    far : coarser terrain beyond the halo, or None.
    """
    size, cut = ground.grid.height, ground.margin_px - light.halo_px
    dem = ground.around[cut : ground.around.shape[0] - cut, cut : ground.around.shape[1] - cut]
    inner = (light.halo_px, light.halo_px, size, size)
    make = whole_window_engine(light.engine, dem.shape, inner, light.sun, far is not None)
    engine = make(dem, ground.grid.pixel_m, inner, light.curvature, far)
    packed = light.sun == "point"
    values = np.zeros((len(suns), size, -(-size // 8) if packed else size), dtype=np.uint8)
    order = np.argsort(suns[:, 2], kind="stable")
    # A far horizon takes four bytes per pixel.
    each = (1 if packed else 4) + (0 if far is None else 4)
    step = max(1, _TRACE_BYTES // (size * size * each))
    parts = [order[i : i + step] for i in range(0, len(order), step)]
    for part in progress(parts, len(parts), f"region: shadows of {len(suns)} Suns"):
        if packed:
            values[part] = np.packbits(engine.lit(suns[part]), axis=-1)
        else:
            share = engine.share(suns[part], light.disc_deg, light.limb_darkening)
            values[part] = np.rint(share * 255).astype(np.uint8)
    return Shadows(values, packed)
