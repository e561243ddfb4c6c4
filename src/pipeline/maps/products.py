"""Products of a map: heights, their uncertainty, slopes, and the source of the heights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.bridges.fields import field
from pipeline.config.maps import MapSection
from pipeline.drawing.relief import hillshade
from pipeline.maps.blend import Clones, cell_deficit
from pipeline.maps.ground import SiteGround
from pipeline.maps.kinds import KINDS
from pipeline.maps.rasters import Rasters

Floats = NDArray[np.float64]

#: Values of ``class.tif``.
NOTHING, IMAGES, MIXED, APRIORI = 0, 1, 2, 3

# Pixels of class 1: least number of images that light them, and widest gap of their azimuths.
_DECIDING, _GAP_DEG = 3, 270.0
# Draws of the a priori DEM's uncertainty: sigma and reach of their smoothing, pixels; seed.
_SMOOTH_PX, _REACH_PX, _DRAWS = 4.0, 16, 0x4650
# Rows around a band that slopes need, in cells.
_OVERLAP_CELLS = 1


@dataclass(frozen=True)
class Light:
    """Illumination of the map by its images, see `pipeline.maps.images.light_of`.

    Attributes
    ----------
    lit : (H, W) number of images that light a pixel. gap : (H, W) widest gap of their azimuths, degrees.
    """

    lit: NDArray[np.int32]
    gap: NDArray[np.float32]


@dataclass(frozen=True)
class Fallback:
    """Pixels where the a priori DEM replaces the reconstruction.

    Attributes
    ----------
    share : (H, W) weight of the a priori DEM, in [0, 1]. sigma : (H, W) its uncertainty, metres. seed : of
        its draws.
    """

    share: NDArray[np.float32]
    sigma: NDArray[np.float32]
    seed: int

    def draws(self, members: int, rows: tuple[int, int]) -> Floats:
        """(M, rows, W) random departures from the a priori DEM, metres, drawn from its uncertainty.

        Smooth over half a cell, with mean 0 over the members and expected standard deviation `sigma` (ddof 1)
        at every pixel, so that the mean is the a priori DEM itself. A pixel's values do not depend on the
        requested rows.
        """
        low, high = max(0, rows[0] - _REACH_PX), min(self.share.shape[0], rows[1] + _REACH_PX)
        out = np.empty((members, rows[1] - rows[0], self.share.shape[1]))
        for member in range(members):
            noise = field((self.seed, _DRAWS, member), low, 0, high - low, self.share.shape[1])
            smooth = ndimage.gaussian_filter(
                noise.astype(np.float64), _SMOOTH_PX, truncate=4.0, mode="reflect"
            )
            out[member] = smooth[rows[0] - low : rows[1] - low] * (2 * _SMOOTH_PX * np.sqrt(np.pi))
        out -= out.mean(axis=0)
        out *= np.sqrt(members / (members - 1))
        return out * self.sigma[rows[0] : rows[1]]


def write_rasters(
    paths: Mapping[str, str],
    clones: Clones,
    ground: SiteGround,
    light: Light,
    section: MapSection,
    tags: Mapping[str, str],
    fallback: Fallback | None = None,
) -> None:
    """Write the GeoTIFFs of a map, band by band.

    Parameters
    ----------
    paths : files by their names in `KINDS`; ``clones`` only where it is wanted.
    clones : of all windows. ground : a priori DEM. light : of the images. section : of the map.
    tags : of every file. fallback : pixels where the a priori DEM replaces the map; None for none.
    """
    layout = ground.layout
    bands = {"clones": clones.members}
    middle = (layout.grid.width - 1) / 2
    with Rasters(paths, layout.region, KINDS, tags, bands) as rasters:
        for top, bottom in _row_bands(clones):
            first = max(0, top - _OVERLAP_CELLS * layout.factor)
            last = min(clones.rows, bottom + _OVERLAP_CELLS * layout.factor)
            band = clones.band(first, last)
            heights = band.clones
            if fallback is not None:
                here = fallback.share[first:last]
                heights = (1 - here) * heights + here * (
                    ground.dem[first:last] + fallback.draws(clones.members, (first, last))
                )
                if layout.exact_cells:
                    # Where the share varies within a cell; the draws keep their spread.
                    heights = heights + cell_deficit(heights.mean(axis=0)[None], ground, first)
            # Pixel size of each row, so that it does not depend on the band.
            pixel = np.array([[layout.grid.true_pixel_m(row, middle)] for row in range(first, last)])
            maps = _maps(heights, band.apart, ground, light, section, (first, last), pixel, fallback)
            maps["prior"] = ground.dem[first:last]
            maps["clones"] = heights
            _write(rasters, paths, maps, ground, first, top, bottom)


def _row_bands(clones: Clones) -> list[tuple[int, int]]:
    step = clones.band_rows
    return [(top, min(top + step, clones.rows)) for top in range(0, clones.rows, step)]


def _maps(
    heights: Floats, apart: Floats | None, ground: SiteGround, light: Light, section: MapSection,
    rows: tuple[int, int], pixel_m: Floats, fallback: Fallback | None,
) -> dict[str, NDArray[np.generic]]:  # fmt: skip
    """All maps of a band, including its overlap."""
    here = slice(*rows)
    grid = ground.layout.grid
    middle_m = grid.true_pixel_m((grid.height - 1) / 2, (grid.width - 1) / 2)
    mean = heights.mean(axis=0)
    std = heights.std(axis=0, ddof=1)
    if apart is not None:
        std = apart if fallback is None else np.where(fallback.share[here] > 0, std, apart)
    slopes = np.stack([slope_deg(clone, pixel_m) for clone in heights])
    lit, gap = light.lit[here], light.gap[here]
    decided = np.where((lit >= _DECIDING) & (gap <= _GAP_DEG), IMAGES, np.where(lit > 0, MIXED, APRIORI))
    if fallback is not None:
        share = fallback.share[here]
        decided = np.where(
            share >= 0.99, APRIORI, np.where(share > 0.01, np.maximum(decided, MIXED), decided)
        )
    return {
        "mean": mean, "std": std, "lit": lit, "azimuth_gap": gap, "class": decided,
        "slope": slope_deg(mean, pixel_m), "slope_std": slopes.std(axis=0, ddof=1),
        "steep": (slopes > section.steep_deg).mean(axis=0), "hillshade": hillshade(mean, middle_m),
    }  # fmt: skip


def _write(
    rasters: Rasters, paths: Mapping[str, str], maps: Mapping[str, NDArray[np.generic]], ground: SiteGround,
    first: int, top: int, bottom: int,
) -> None:  # fmt: skip
    """Write the part of a band that lies on the requested map."""
    layout = ground.layout
    low, high = max(top, layout.row), min(bottom, layout.row + layout.height)
    if low >= high:
        return
    part = np.s_[low - first : high - first, layout.col : layout.col + layout.width]
    known = ground.known[low:high, layout.col : layout.col + layout.width]
    for name in paths:
        values = maps[name][(..., *part)]
        nodata = KINDS[name].nodata
        if nodata is not None:
            values = np.where(known, values, nodata)
        rasters.write(name, low - layout.row, values)


def slope_deg(dem: Floats, pixel_m: float | Floats) -> Floats:
    """Slope of a DEM (rows, cols), degrees: central differences over two pixels, one-sided at the edges.

    Parameters
    ----------
    dem : metres. pixel_m : size of a pixel on the ground, metres; a number, or (rows, 1).
    """
    down, right = np.gradient(dem)
    slope: Floats = np.degrees(np.arctan(np.hypot(down, right) / pixel_m))
    return slope
