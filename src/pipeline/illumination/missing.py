"""Missing data: an image that keeps only a strip of the patch, as a narrow camera frame does.

A strip is four numbers ``(x0, y0, q, w)``: pixel (x, y) is kept when
``|(y - y0) cos q - (x - x0) sin q| < w``, with x the column, y the row and lengths in pixels. This is the
published ``|y - (m x + c)| < w sqrt(m^2 + 1)``, m = (1 - tan t) / (1 + tan t), with q = 45 - t degrees,
which has no singular direction (m has, at t = 135).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from pipeline.config.light import StripDraw

# Half-width of a strip that covers any patch: the image is whole. Finite, so that JSON can hold it.
WHOLE_HALF_WIDTH_PX = 1e6

Strip = tuple[float, float, float, float]
Array = TypeVar("Array", NDArray[Any], "torch.Tensor")


def draw_strip(rng: np.random.Generator, draw: StripDraw, size_px: int) -> Strip:
    """Draw the strip of one image.

    The centre is uniform on one of the patch's two diagonals, the direction uniform, the half-width uniform
    in its range; a share ``1 - draw.share`` of the images is left whole. Every call takes the same count of
    numbers from `rng`, whatever it draws.

    Parameters
    ----------
    rng : source of the draw.
    draw : range of the half-width, pixels, and share of the images that lose data.
    size_px : side of the patch, pixels.

    Returns
    -------
    ``(x0, y0, q_deg, half_width)``.
    """
    along, anti, turn, width, loses = rng.random(5)
    x0 = along * (size_px - 1)
    y0 = size_px - 1 - x0 if anti < 0.5 else x0
    low, high = draw.half_width_px.low, draw.half_width_px.high
    half_width = low + width * (high - low) if loses < draw.share else WHOLE_HALF_WIDTH_PX
    return float(x0), float(y0), float(45.0 - 180.0 * turn), float(half_width)


def strip_mask(strips: Array, size_px: int) -> Array:
    """Pixels that images keep.

    Parameters
    ----------
    strips : ``(..., 4)`` floating-point array or torch tensor of ``(x0, y0, q_deg, half_width)``.
    size_px : side P of the patch, pixels.

    Returns
    -------
    ``(..., P, P)`` bool, rows then columns, of the same kind and on the same device.
    """
    if isinstance(strips, np.ndarray):
        x0, y0, q, half_width = (strips[..., i, None, None] for i in range(4))
        axis = np.arange(size_px, dtype=strips.dtype)
        q = np.radians(q)
        sine, cosine = np.sin(q), np.cos(q)
    else:
        import torch

        x0, y0, q, half_width = (strips[..., i, None, None] for i in range(4))
        axis = torch.arange(size_px, dtype=strips.dtype, device=strips.device)
        q = torch.deg2rad(q)
        sine, cosine = torch.sin(q), torch.cos(q)
    return abs((axis[:, None] - y0) * cosine - (axis[None, :] - x0) * sine) < half_width
