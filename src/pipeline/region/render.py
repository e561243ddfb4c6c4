"""Rendered images of a region: Suns along an arc, shadows that all of it casts, strips of kept data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.light import IlluminationSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.products import RegionSection
from pipeline.illumination.directions import NoUsableDirectionError, fixed_directions, usable_directions
from pipeline.illumination.missing import strip_mask
from pipeline.illumination.photometry import radiance
from pipeline.illumination.sweep import whole_window_engine
from pipeline.provenance.progress import track
from pipeline.region.ground import Ground
from pipeline.region.images import WindowImages
from pipeline.shards.surface import edge_surface

logger = logging.getLogger(__name__)

# Keep this stage's random numbers apart from those of other stages, and of each other, with one seed.
SUNS_PURPOSE, STRIPS_PURPOSE = 0x52531, 0x52532
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


def trace_region(ground: Ground, suns: NDArray[np.float32], light: IlluminationSection) -> Shadows:
    """Visibility over the whole region with the configured engine.

    All of the region casts shadows, and `light.halo_px` pixels around it. Directions go from the lowest Sun
    up, so that an engine prepares the terrain once; a bounded number of them is in memory unpacked. There is
    no far terrain (`light.far_m` is not read): a region is large, and its margin may be.

    Parameters
    ----------
    ground : the terrain. suns : (D, 3) map frame. light : engine, halo, Sun.
    """
    size, cut = ground.grid.height, ground.margin_px - light.halo_px
    dem = ground.around[cut : ground.around.shape[0] - cut, cut : ground.around.shape[1] - cut]
    inner = (light.halo_px, light.halo_px, size, size)
    make = whole_window_engine(light.engine, dem.shape, inner, light.sun)
    engine = make(dem, ground.grid.pixel_m, inner, light.curvature)
    packed = light.sun == "point"
    values = np.zeros((len(suns), size, -(-size // 8) if packed else size), dtype=np.uint8)
    order = np.argsort(suns[:, 2], kind="stable")
    step = max(1, _TRACE_BYTES // (size * size * (1 if packed else 4)))
    parts = [order[i : i + step] for i in range(0, len(order), step)]
    for part in track(parts, len(parts), f"region: shadows of {len(suns)} Suns"):
        if packed:
            values[part] = np.packbits(engine.lit(suns[part]), axis=-1)
        else:
            share = engine.share(suns[part], light.disc_deg, light.limb_darkening)
            values[part] = np.rint(share * 255).astype(np.uint8)
    return Shadows(values, packed)


class RenderedImages:
    """Images of a region that are computed when a window of them is read.

    Parameters
    ----------
    ground : the terrain.
    shadows : visibility of the directions in use.
    directions : (N,) each image's row in `shadows` and `suns`.
    suns : (D, 3) float32.
    strips : (N, 4) float64 strips of kept data in region pixels, see `pipeline.illumination.missing`; None
        for whole images.
    photometry : reflectance law.
    """

    def __init__(
        self,
        ground: Ground,
        shadows: Shadows,
        directions: NDArray[np.int64],
        suns: NDArray[np.float32],
        strips: NDArray[np.float64] | None,
        photometry: PhotometrySection,
    ) -> None:
        size = ground.grid.height
        surface = edge_surface(ground.around, ground.margin_px, size, use_halo=True)
        # Centred for the sake of single precision; (S + 2, S + 2).
        self._surface = torch.from_numpy(surface - np.float32(ground.truth.mean(dtype=np.float64)))
        self._pixel_m = ground.grid.pixel_m
        self._shadows, self._photometry = shadows, photometry
        self.directions, self.suns, self.strips = directions, suns, strips

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.directions)

    def read(
        self, row0: int, row1: int, col0: int, col1: int, only: Sequence[int] | None = None
    ) -> WindowImages:
        """Images of a square window; see `pipeline.region.images.RegionImages.read`.

        As in training, an image is dark when the whole window lies in shadow, whatever its strip keeps.
        """
        chosen = np.arange(self.count) if only is None else np.asarray(only, dtype=np.int64)
        valid = self._valid(chosen, row0, col0, row1 - row0)
        if only is None:
            seen = valid.any(axis=(1, 2))
            chosen, valid = chosen[seen], valid[seen]
        used, back = np.unique(self.directions[chosen], return_inverse=True)
        visible = self._shadows.read(used, row0, row1, col0, col1)
        if only is None:
            lit = np.any(visible, axis=(1, 2))[back]
            chosen, valid, back = chosen[lit], valid[lit], back[lit]
        # One direction may serve many images.
        surface = self._surface[row0 : row1 + 2, col0 : col1 + 2]
        light = radiance(surface, self._pixel_m, torch.from_numpy(self.suns[used]), None, self._photometry)
        light = light[:, 1:-1, 1:-1] * torch.from_numpy(visible)
        mask = torch.from_numpy(valid)
        suns = torch.from_numpy(self.suns[self.directions[chosen]])
        return WindowImages(light[torch.from_numpy(back)] * mask, mask, suns)

    def _valid(self, chosen: NDArray[np.int64], row0: int, col0: int, size: int) -> NDArray[np.bool_]:
        if self.strips is None:
            return np.ones((len(chosen), size, size), dtype=bool)
        strips = self.strips[chosen] - np.array([col0, row0, 0.0, 0.0])
        return strip_mask(strips, size)


def render(
    ground: Ground,
    section: RegionSection,
    light: IlluminationSection,
    tolerance: float,
    photometry: PhotometrySection,
) -> RenderedImages:
    """Draw Suns and strips, and trace the shadows.

    The Suns are drawn with replacement from the fixed directions that lie on the arc of the region's assumed
    place and light some of it; each image keeps the strip of the section's half-width around a point anywhere
    in the region, in any direction.

    Parameters
    ----------
    ground : the terrain. section : place of the arc, number of images, strips, seed.
    light, photometry : how light falls. tolerance : ``arcs.tolerance``.

    Raises
    ------
    ValueError
        If no fixed direction is usable.
    """
    every = fixed_directions()
    try:
        usable = usable_directions(section.longitude, section.latitude, tolerance, every)
    except NoUsableDirectionError as error:
        raise NoUsableDirectionError(f"region.latitude, region.longitude: {error}") from None
    suns = every[usable].astype(np.float32)
    shadows = trace_region(ground, suns, light)
    lit = np.flatnonzero(shadows.values.any(axis=(1, 2)))
    if not len(lit):
        raise NoUsableDirectionError(
            f"region.latitude: expected a Sun that lights part of the region, found none of {len(suns)} on "
            f"the arc of longitude {section.longitude:g}, latitude {section.latitude:g}"
        )
    drawn = np.random.default_rng([section.seed, SUNS_PURPOSE]).choice(lit, section.images, replace=True)
    strips = None
    if section.half_width_px is not None:
        numbers = np.random.default_rng([section.seed, STRIPS_PURPOSE]).random((section.images, 3))
        centre = numbers[:, :2] * ground.grid.height - 0.5
        turn = 180.0 * numbers[:, 2]
        strips = np.column_stack([centre, turn, np.full(section.images, float(section.half_width_px))])
    logger.info("region: %d images under %d Suns", section.images, len(np.unique(drawn)))
    kept, directions = np.unique(drawn, return_inverse=True)
    return RenderedImages(
        ground, Shadows(shadows.values[kept], shadows.packed), directions, suns[kept], strips, photometry
    )
