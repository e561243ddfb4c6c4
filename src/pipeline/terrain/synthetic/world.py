"""Seeded synthetic polar terrain, in the format of a LOLA DEM and its count map."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_origin

from pipeline.config.synthetic import SyntheticSection
from pipeline.storage.atomic import replacing
from pipeline.terrain.synthetic.craters import draw_craters, stamp_craters
from pipeline.terrain.synthetic.relief import SelfAffine
from pipeline.terrain.synthetic.tracks import spot_count

logger = logging.getLogger(__name__)

# South polar stereographic on the sphere of LOLA products, true scale at the pole.
SOUTH_POLAR = "+proj=stere +lat_0=-90 +lat_ts=-90 +lon_0=0 +x_0=0 +y_0=0 +R=1737400 +units=m +no_defs"
# Heights are rounded to this step, metres: it removes the last bits of the arithmetic, which may differ
# between processors, and is a hundredth of LOLA's precision.
HEIGHT_STEP_M = 2.0**-9
# One random stream for each purpose, so that a change of one does not affect the others.
_RELIEF, _CRATERS, _TEXTURE, _TRACKS = 11, 12, 13, 14


def synthetic_dem(section: SyntheticSection) -> NDArray[np.float32]:
    """Make the heights of a synthetic polar tile.

    Ancient self-affine relief, then craters from the oldest to the youngest, then fine texture.

    Parameters
    ----------
    section : SyntheticSection
        Size, relief, craters and seed.

    Returns
    -------
    array (size_px, size_px)
        Heights above the sphere of 1737400 m, metres; row 0 is the largest map y.
    """
    size, pixel = section.size_px, section.pixel_m
    ancient = SelfAffine(section.hurst, section.roughness_m, 1000.0, section.smoothing_m)
    relief = ancient.draw(size, pixel, _stream(section, _RELIEF))
    craters = draw_craters(section, _stream(section, _CRATERS))
    stamp_craters(relief, craters, pixel, section.depth_diameter)
    texture = SelfAffine(section.hurst, section.texture_m, 100.0)
    relief += texture.draw(size, pixel, _stream(section, _TEXTURE))
    logger.info("synthetic terrain: %d x %d px at %g m, %d craters", size, size, pixel, len(craters))
    return (np.rint(relief / HEIGHT_STEP_M) * HEIGHT_STEP_M).astype(np.float32)


def synthetic_count(section: SyntheticSection) -> NDArray[np.uint16]:
    """Altimeter spots in each pixel of the tile, array (size_px, size_px); see `spot_count`."""
    centre = (section.center_x_m, section.center_y_m)
    return spot_count(section.size_px, section.pixel_m, centre, section.tracks, _stream(section, _TRACKS))


def synthesize(section: SyntheticSection, dem: Path | str, count: Path | str) -> None:
    """Write a synthetic DEM and its count map as GeoTIFFs.

    Equal sections give equal bytes. Each file is written atomically.

    Parameters
    ----------
    section : SyntheticSection
        What to make.
    dem, count : path
        Files to write: float32 heights in metres with NaN as nodata, and uint16 spots per pixel.
    """
    start = time.perf_counter()
    half = section.size_px * section.pixel_m / 2
    transform = from_origin(
        section.center_x_m - half, section.center_y_m + half, section.pixel_m, section.pixel_m
    )
    heights = synthetic_dem(section)
    _write(Path(dem), heights, transform, predictor=3, nodata=np.nan)
    del heights
    spots = synthetic_count(section)
    _write(Path(count), spots, transform, predictor=2)
    logger.info(
        "synthetic terrain: %.0f %% of the pixels have an altimeter spot; %.1f s",
        100 * float(np.mean(spots > 0)),
        time.perf_counter() - start,
    )


def _stream(section: SyntheticSection, purpose: int) -> np.random.Generator:
    return np.random.default_rng([section.seed, purpose])


def _write(path: Path, values: NDArray[Any], transform: Any, **options: Any) -> None:
    """Write a tiled, compressed GeoTIFF under a temporary name and move it into place."""
    profile = {
        "driver": "GTiff",
        "dtype": values.dtype.name,
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "crs": CRS.from_proj4(SOUTH_POLAR),
        "transform": transform,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "num_threads": 1,
    }
    with (
        replacing(path) as temporary,
        rasterio.open(temporary, "w", **profile, **options) as target,
    ):
        target.write(values, 1)
