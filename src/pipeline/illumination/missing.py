"""Missing data: an image that covers only part of the patch, as a narrow camera frame does.

One image's mask is one row of numbers. The first four are the strip ``(x0, y0, q, w)``: pixel (x, y) is kept
when ``|(y - y0) cos q - (x - x0) sin q| < w``, with x the column, y the row, q in degrees and lengths in
pixels. This is the published ``|y - (m x + c)| < w sqrt(m^2 + 1)``, m = (1 - tan t) / (1 + tan t), with
q = 45 - t degrees, which has no singular direction (m has, at t = 135).

A full row continues with the seam ``(s, v)``, which removes ``|(y - y0) cos q - (x - x0) sin q - s| < v``,
and two blocks ``(x, y, width, height)`` without data, whose pixels are x <= column < x + width and
y <= row < y + height. Zeros mean none.

Rows are drawn in one of two ways. ``strip`` is the published one. ``nac`` follows the Narrow Angle Cameras of
the Lunar Reconnaissance Orbiter (Robinson et al. 2010): two line cameras side by side on a near-polar orbit,
with swaths of 2.5 km each from an altitude of 50 km. On a circular orbit of inclination i over a slowly
rotating sphere, the heading A (from north) at latitude phi follows from the right spherical triangle of node,
place and pole: sin A = cos i / cos phi.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.illumination.directions import local_to_map_azimuth

if TYPE_CHECKING:
    import torch

    from pipeline.config.masks import Missing, StripDraw
    from pipeline.illumination.place import Place

# Half-width of a strip that covers any patch: the image is whole. Finite, so that JSON can hold it.
WHOLE_HALF_WIDTH_PX = 1e6
# Numbers per row: the strip only, or with its seam and two blocks.
STRIP, FULL = 4, 14

Row = tuple[float, ...]
Array = TypeVar("Array", NDArray[Any], "torch.Tensor")


def orbit_azimuth(lat_deg: ArrayLike, inclination_deg: ArrayLike) -> NDArray[np.float64]:
    """Heading of an ascending orbit, degrees clockwise from true north, in [-90, 90].

    sin A = cos i / cos phi; where an orbit does not reach a latitude, the heading at its turning point: 90
    degrees (east or west). The heading of a descending orbit is 180 - A.

    Parameters
    ----------
    lat_deg, inclination_deg : broadcastable; latitude phi and inclination i, degrees.
    """
    across = np.cos(np.radians(inclination_deg))
    along = np.maximum(np.cos(np.radians(lat_deg)), 1e-12)
    return np.degrees(np.arcsin(np.clip(across / along, -1.0, 1.0)))


def draw_strip(
    rng: np.random.Generator,
    draw: StripDraw,
    size_px: int,
    place: Place | None = None,
    pixel_m: float | None = None,
) -> Row:
    """Draw the mask of one image.

    A ``strip``'s centre is uniform on one of the patch's two diagonals, its direction uniform, its
    half-width uniform in its range. For ``nac`` see `draw_swath`. A fraction ``1 - draw.share`` of the images
    stays complete. Every call of one kind uses the same number of random numbers.

    Parameters
    ----------
    rng : source of the draw.
    draw : kind, its ranges, and the share of the images that lose data.
    size_px : side of the patch, pixels.
    place, pixel_m : the patch's place, and its pixel size, m; ``nac`` needs both.

    Returns
    -------
    ``(x0, y0, q_deg, half_width)``, for ``nac`` with the seam and two blocks: 14 numbers.

    Raises
    ------
    ValueError
        If a ``nac`` draw has no place or pixel size.
    """
    if draw.kind == "nac":
        if place is None or pixel_m is None:
            raise ValueError("masks: kind 'nac' needs the patch's place and its pixel size, found none")
        return draw_swath(rng, draw, size_px, place, pixel_m)
    along, anti, turn, width, loses = rng.random(5)
    x0 = along * (size_px - 1)
    y0 = size_px - 1 - x0 if anti < 0.5 else x0
    low, high = draw.half_width_px.low, draw.half_width_px.high
    half_width = low + width * (high - low) if loses < draw.share else WHOLE_HALF_WIDTH_PX
    return float(x0), float(y0), float(45.0 - 180.0 * turn), float(half_width)


def draw_swath(rng: np.random.Generator, draw: Missing, size_px: int, place: Place, pixel_m: float) -> Row:
    """Draw the swath of one Narrow Angle Camera image, with its seam and blocks.

    The width is uniform in its range; the azimuth is that of an orbit of uniform inclination at the patch's
    latitude, ascending or descending with probability 1/2, plus normal jitter. The distance of the swath's
    middle from the patch's centre is uniform among all at which the swath covers at least one pixel: the
    distribution of a randomly placed swath, given that it meets the patch. A block's corner is uniform over
    the positions where the whole block lies on the patch. Where seam and blocks would remove all pixels of
    the swath, they are left out.

    Parameters
    ----------
    rng : source of the draw; every call uses 7 + 10 uniform numbers and one normal one.
    draw : ranges. size_px : side of the patch, pixels.
    place, pixel_m : the patch's place; its pixel size, m.

    Returns
    -------
    A full row: swath, seam, two blocks.
    """
    loses, width, tilt, descends, across, has_seam, seam_width = rng.random(7)
    blocks = rng.random((2, 5))
    jitter = rng.standard_normal()
    if loses >= draw.share:
        middle = (size_px - 1) / 2
        return (middle, middle, 0.0, WHOLE_HALF_WIDTH_PX, *[0.0] * (FULL - STRIP))

    def between(share: Any, low: float, high: float) -> Any:
        return low + share * (high - low)

    half_width = between(width, draw.width_m.low, draw.width_m.high) / 2 / pixel_m
    heading = float(
        orbit_azimuth(place.lat, between(tilt, draw.inclination_deg.low, draw.inclination_deg.high))
    )
    heading = (180.0 - heading if descends < 0.5 else heading) + draw.azimuth_jitter_deg * jitter
    azimuth = float(local_to_map_azimuth(heading, place.map_lon, cast(Literal[1, -1], place.pole)))
    # Along the swath: sin(azimuth) columns to the right and cos(azimuth) rows up, so q = azimuth - 90; a
    # swath runs both ways, so q is taken within half a turn.
    q = azimuth % 180.0 - 90.0
    sine, cosine = np.sin(np.radians(q)), np.cos(np.radians(q))
    # Distance of the patch's outermost pixel centres from its centre, across the swath.
    reach = (size_px - 1) / 2 * (abs(sine) + abs(cosine))
    offset = between(across, -1.0, 1.0) * (half_width + reach) * (1 - 1e-6)
    x0 = (size_px - 1) / 2 - offset * sine
    y0 = (size_px - 1) / 2 + offset * cosine
    seam = between(seam_width, draw.seam_px.low, draw.seam_px.high) / 2 if has_seam < draw.seam_share else 0.0
    row = [x0, y0, q, half_width, 0.0, seam]
    for has_block, *sides, right, down in blocks:
        if has_block >= draw.blocks.share:
            row += [0.0] * 4
            continue
        sizes = (between(side, draw.blocks.size_px.low, draw.blocks.size_px.high) for side in sides)
        wide, high = (min(float(np.rint(size)), float(size_px)) for size in sizes)
        row += [np.floor(right * (size_px - wide + 1)), np.floor(down * (size_px - high + 1)), wide, high]
    out = tuple(float(v) for v in row)
    if any(out[STRIP + 1 :]) and not strip_mask(np.array(out), size_px).any():
        return (*out[:STRIP], *[0.0] * (FULL - STRIP))
    return out


def strip_mask(strips: Array, size_px: int) -> Array:
    """Pixels that images keep.

    Parameters
    ----------
    strips : ``(..., 4)`` or ``(..., 14)`` floating-point array or torch tensor of rows.
    size_px : side P of the patch, pixels.

    Returns
    -------
    ``(..., P, P)`` bool, rows then columns, of the same kind and on the same device.

    Raises
    ------
    ValueError
        If rows have another length.
    """
    if strips.shape[-1] not in (STRIP, FULL):
        raise ValueError(f"strips: expected rows of {STRIP} or {FULL} numbers, found {strips.shape[-1]}")
    x0, y0, q, half_width = (strips[..., i, None, None] for i in range(4))
    if isinstance(strips, np.ndarray):
        axis, turn = np.arange(size_px, dtype=strips.dtype), np.radians(q)
        sine, cosine = np.sin(turn), np.cos(turn)
    else:
        import torch

        axis, turn = torch.arange(size_px, dtype=strips.dtype, device=strips.device), torch.deg2rad(q)
        sine, cosine = torch.sin(turn), torch.cos(turn)
    across = (axis[:, None] - y0) * cosine - (axis[None, :] - x0) * sine
    kept = abs(across) < half_width
    if strips.shape[-1] == STRIP:
        return kept
    seam, seam_half = strips[..., 4, None, None], strips[..., 5, None, None]
    kept = kept & ~(abs(across - seam) < seam_half)
    for first in (6, 10):
        left, top, width, height = (strips[..., first + i, None] for i in range(4))
        columns = (axis >= left) & (axis < left + width)
        rows = (axis >= top) & (axis < top + height)
        kept = kept & ~(rows[..., :, None] & columns[..., None, :])
    return kept
