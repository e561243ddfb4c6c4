"""Which pixels of a region see the Sun: traced over all of it, with its halo and the far terrain."""

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

# Results of shadow tests that are in memory before they are packed.
_TRACE_BYTES = 2**28


@dataclass(frozen=True)
class Shadows:
    """Visibility of the Sun over a region.

    Attributes
    ----------
    values : (D, S, ceil(S / 8)) u1, bits packed along x; or (D, S, S) u1, visible share of the disc x 255.
    packed : which of the two.
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
    """Terrain that casts shadows into a region from beyond its halo.

    It reaches `light.far_m` beyond the region's corners, so that no pixel sees less of it than a patch does.

    Parameters
    ----------
    store : store of schema ``far`` of the whole terrain; '' for none.
    place : the region. light : reach and blocks.

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

    All of the region casts shadows, `light.halo_px` pixels around it, and the far terrain. Directions go from
    the lowest Sun up, so that an engine prepares the terrain once; a bounded number of them is in memory
    unpacked.

    Parameters
    ----------
    ground : the terrain. suns : (D, 3) map frame. light : engine, halo, Sun. far : coarser terrain beyond.
    """
    size, cut = ground.grid.height, ground.margin_px - light.halo_px
    dem = ground.around[cut : ground.around.shape[0] - cut, cut : ground.around.shape[1] - cut]
    inner = (light.halo_px, light.halo_px, size, size)
    make = whole_window_engine(light.engine, dem.shape, inner, light.sun, far is not None)
    engine = make(dem, ground.grid.pixel_m, inner, light.curvature, far)
    packed = light.sun == "point"
    values = np.zeros((len(suns), size, -(-size // 8) if packed else size), dtype=np.uint8)
    order = np.argsort(suns[:, 2], kind="stable")
    # A far horizon is four bytes a pixel.
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
