"""Rendered images of a region: Suns along an arc, shadows of all terrain around, strips with data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.illumination import IlluminationSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.region import RegionSection
from pipeline.config.stages.region import RegionStage
from pipeline.illumination.directions import fixed_directions
from pipeline.illumination.ephemeris import SunTrack, read_track
from pipeline.illumination.far import FarTerrain
from pipeline.illumination.missing import STRIP, strip_mask
from pipeline.illumination.photometry import radiance
from pipeline.region.draws import draw_strips, draw_suns
from pipeline.region.ground import AprioriDem, Ground, centre_of
from pipeline.region.shadows import Shadows, far_around, trace_region
from pipeline.region.source import WindowImages, one_file
from pipeline.shards.surface import edge_surface

logger = logging.getLogger(__name__)


class RenderedImages:
    """Images of a region that are rendered when a window of them is read.

    Parameters
    ----------
    ground : the terrain.
    shadows : visibility of the Sun for D directions.
    directions : (N,) each image's row in `shadows` and `suns`.
    suns : (D, 3) float32 unit vectors, map frame.
    strips : (N, 4) or (N, 14) float64 rows that describe the part with data, in region pixels, see
        `pipeline.illumination.missing`; None for complete images.
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
        # Relative to the mean height, since float32 loses digits of large heights; (S + 2, S + 2).
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
        """Images of a square window; see `pipeline.region.source.RegionImages.read`.

        As in training, an image counts as dark if the whole window, not only its strip, is in shadow.
        """
        chosen = np.arange(self.count) if only is None else np.asarray(only, dtype=np.int64)
        valid = self._valid(chosen, row0, col0, row1 - row0)
        if only is None:
            some = valid.any(axis=(1, 2))
            chosen, valid = chosen[some], valid[some]
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
        strips = self.strips[chosen].copy()
        # A row contains up to three positions: the strip's centre, and the corners of two blocks.
        for x in (0, 6, 10)[: 1 if strips.shape[1] == STRIP else 3]:
            strips[:, x : x + 2] -= (col0, row0)
        return strip_mask(strips, size)


def open_images(
    section: RegionStage, inputs: Mapping[str, Any], apriori: AprioriDem, ground: Ground | None
) -> RenderedImages:
    """Rendered images of the stage's section; see `pipeline.region.source.open_images`.

    Parameters
    ----------
    inputs : lists of at most one file: ``track`` (the Sun's, if ``region.light.place`` is ``ephemeris``) and
        ``far`` (far terrain, if ``illumination.far_m`` > 0).

    Raises
    ------
    ValueError
        If there is no true terrain, or a file is needed and not given; also as `render`.
    """
    if ground is None:
        raise ValueError("images: expected true terrain to render them from, found none")
    light = section.illumination
    far = far_around(one_file(inputs.get("far")), ground.place, light) if light.far_m > 0 else None
    suns = read_track(path) if (path := one_file(inputs.get("track"))) else None
    return render(ground, section.region, light, section.tolerance, section.photometry, suns, far)


def render(
    ground: Ground,
    section: RegionSection,
    light: IlluminationSection,
    tolerance: float,
    photometry: PhotometrySection,
    track: SunTrack | None = None,
    far: FarTerrain | None = None,
) -> RenderedImages:
    """Draw Suns and strips, and trace the shadows.

    The Suns are drawn with replacement from those fixed directions that are near the Sun's arc at the
    region's assumed or true coordinates, or near the Suns of the track, and light some of the region.

    Parameters
    ----------
    ground : the terrain. section : kind of arc, number of images, strips, seed.
    light : settings of ray tracing. photometry : reflectance law. tolerance : ``arcs.tolerance``.
    track : the Sun's track, if ``section.light.place`` is ``ephemeris``.
    far : coarser terrain beyond the region's halo that casts shadows, or None.

    Raises
    ------
    ValueError
        If no fixed direction is usable, or a track is needed and not given.
    """
    fixed = fixed_directions(light.azimuth)
    every = fixed.astype(np.float32)
    known: dict[int, NDArray[np.uint8]] = {}

    def lights(directions: NDArray[np.int64]) -> NDArray[np.bool_]:
        new = [int(d) for d in directions if int(d) not in known]
        if new:
            known.update(zip(new, trace_region(ground, every[new], light, far).values, strict=True))
        return np.array([known[int(d)].any() for d in directions])

    place, size, pixel_m = centre_of(ground.grid), ground.grid.height, ground.grid.pixel_m
    draw = section.light.arc(place.pole, section.images)
    drawn = draw_suns(draw, tolerance, section.seed, lights, place, track, directions=fixed)
    kept, directions = np.unique(drawn, return_inverse=True)
    logger.info("region: %d images under %d Suns", section.images, len(kept))
    shadows = Shadows(np.stack([known[int(d)] for d in kept]), light.sun == "point")
    strips = draw_strips(section, size, place, pixel_m)
    return RenderedImages(ground, shadows, directions, every[kept], strips, photometry)
