"""Random draws for the rendered images of a region: their Suns, and the part of it that each shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.config.arcs import ArcDraw
from pipeline.config.region import RegionSection
from pipeline.illumination.directions import NoUsableDirectionError, draw_arc_set
from pipeline.illumination.ephemeris import SunTrack, own_suns
from pipeline.illumination.missing import WHOLE_HALF_WIDTH_PX, draw_swath
from pipeline.illumination.place import Place

# Distinguish the random numbers of this stage's draws from each other's and other stages' with the same seed.
SUNS_PURPOSE, STRIPS_PURPOSE = 0x52531, 0x52532

Indices = NDArray[np.int64]


def draw_suns(
    draw: ArcDraw,
    tolerance: float,
    seed: int,
    lights: Callable[[Indices], NDArray[np.bool_]],
    place: Place,
    track: SunTrack | None = None,
    *,
    directions: NDArray[np.float64],
) -> Indices:
    """Draw the Sun directions of a region's images, like those of a patch.

    Only drawn directions are traced: one that leaves the whole region dark is excluded and the set is drawn
    again with the same random numbers, so that all directions that light the region stay equally likely.

    Parameters
    ----------
    draw : kind of place, its ranges, the declination, and the number of images N.
    tolerance : ``arcs.tolerance``. seed : of the draw.
    lights : function that returns which of the given directions light some of the region.
    place : the region's centre. track : the Sun's track, if the draw's place is ``ephemeris``.
    directions : (D, 3) unit vectors to choose from.

    Returns
    -------
    (N,) indices into `directions`.

    Raises
    ------
    NoUsableDirectionError
        If no direction is usable, or no usable one lights the region.
    ValueError
        If the draw needs a track that is not given.
    """
    suns = own_suns(draw, place, track)
    useful = np.ones(len(directions), dtype=bool)
    while True:
        rng = np.random.default_rng([seed, SUNS_PURPOSE])
        usable = None if useful.all() else useful
        try:
            *_, chosen = draw_arc_set(draw, tolerance, rng, usable, place, suns, directions)
        except NoUsableDirectionError as error:
            # `draw_arc_set` treats the region as a large patch.
            message = str(error).replace("the patch", "the region")
            raise NoUsableDirectionError(f"region.light: {message}") from None
        asked = np.unique(chosen)
        dark = asked[~lights(asked)]
        if not len(dark):
            return chosen
        useful[dark] = False


def draw_strips(
    section: RegionSection, size_px: int, place: Place, pixel_m: float
) -> NDArray[np.float64] | None:
    """Draw the part of the region that each image shows.

    A ``strip`` is centred on a uniformly random point of the region, with random direction; a ``nac`` swath
    is drawn as for a patch of the region's size.

    Parameters
    ----------
    section : kind, its ranges, number of images N, seed.
    size_px : side of the region, pixels. place : its centre. pixel_m : pixel size, m.

    Returns
    -------
    (N, 4) or (N, 14) rows, see `pipeline.illumination.missing`; None if all images are complete.
    """
    rng = np.random.default_rng([section.seed, STRIPS_PURPOSE])
    if section.masks.kind == "nac":
        rows = [draw_swath(rng, section.masks, size_px, place, pixel_m) for _ in range(section.images)]
        return np.array(rows, dtype=np.float64)
    if section.half_width_px is None:
        return None
    numbers = rng.random((section.images, 3))
    centre, turn = numbers[:, :2] * size_px - 0.5, 180.0 * numbers[:, 2]
    loses = rng.random(section.images) < section.masks.share
    low, high = section.half_width_px.low, section.half_width_px.high
    width = low if low == high else rng.uniform(low, high, section.images)
    return np.column_stack([centre, turn, np.where(loses, width, WHOLE_HALF_WIDTH_PX)])
