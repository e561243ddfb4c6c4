"""Normalised cross-correlation of two masked images over whole-pixel shifts, by FFT.

Padfield, D. (2012), Masked object registration in the Fourier domain, IEEE Transactions on Image Processing
21(5), 2706-2718: at each shift, Pearson's correlation over the pixels that are valid in both images; each of
its sums is computed as a correlation of masked images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]


def masked_correlation(
    image: Floats, model: Floats, image_mask: Floats, model_mask: Floats, max_shift_px: int, overlap: float
) -> Floats:
    """Correlation of an image with a model moved by whole pixels.

    Parameters
    ----------
    image, model : ``(H, W)``. image_mask, model_mask : ``(H, W)``, 1 where valid, else 0.
    max_shift_px : the largest shift along each axis, pixels; less than both sides.
    overlap : least share of the image's valid pixels that must meet valid ones of the model.

    Returns
    -------
    ``(2 m + 1, 2 m + 1)``: element ``(m + i, m + j)`` is the correlation with the model moved i rows down and
    j columns to the right; -1 where the overlap is too small or one of the two is constant there.
    """
    height, width = image.shape
    most = max_shift_px
    # Circular correlation: padding by the largest shift prevents wrap-around.
    size = [fft.next_fast_len(side + most, real=True) for side in (height, width)]

    def transform(values: Floats) -> NDArray[np.complex128]:
        return np.asarray(fft.rfft2(values, s=size))

    rows = np.arange(-most, most + 1)

    def inverse(product: NDArray[np.complex128]) -> Floats:
        every = np.asarray(fft.irfft2(product, s=size), dtype=np.float64)
        return every[np.ix_(rows, rows)]

    # Subtracting the means first avoids cancellation.
    held = image - _mean(image, image_mask), model - _mean(model, model_mask)
    first, second = held[0] * image_mask, held[1] * model_mask
    mask1, mask2 = transform(image_mask), np.conj(transform(model_mask))
    one, two = transform(first), np.conj(transform(second))
    count = np.round(inverse(mask1 * mask2))
    enough = count >= max(overlap * image_mask.sum(), 2.0)
    safe = np.where(enough, count, 1.0)
    sum1, sum2 = inverse(one * mask2), inverse(mask1 * two)
    square1 = inverse(transform(first**2) * mask2) - sum1**2 / safe
    square2 = inverse(mask1 * np.conj(transform(second**2))) - sum2**2 / safe
    cross = inverse(one * two) - sum1 * sum2 / safe
    # Rounding errors of a constant image do not count as variance.
    least = 1e-10 * max(float(square1.max()), 0.0), 1e-10 * max(float(square2.max()), 0.0)
    enough &= (square1 > least[0]) & (square2 > least[1])
    scale = np.sqrt(np.where(enough, square1 * square2, 1.0))
    return np.where(enough, np.clip(cross / scale, -1.0, 1.0), -1.0)


def peak(correlation: Floats) -> tuple[tuple[int, int], tuple[float, float]]:
    """Shift of the highest element, rows down and columns right: in whole pixels, and refined by parabolas.

    Parameters
    ----------
    correlation : ``(2 m + 1, 2 m + 1)`` from `masked_correlation`.
    """
    most = correlation.shape[0] // 2
    row, col = (int(k) for k in np.unravel_index(int(np.argmax(correlation)), correlation.shape))
    fine = (
        row - most + _vertex(correlation[:, col], row),
        col - most + _vertex(correlation[row], col),
    )
    return (row - most, col - most), fine


def _vertex(line: Floats, k: int) -> float:
    """Offset of the vertex of the parabola through an element and its neighbours from the element."""
    if not 0 < k < len(line) - 1:
        return 0.0
    before, here, after = (float(value) for value in line[k - 1 : k + 2])
    bend = before - 2 * here + after
    return 0.0 if bend >= 0 else float(np.clip((before - after) / (2 * bend), -0.5, 0.5))


def _mean(values: Floats, mask: Floats) -> float:
    total = float(mask.sum())
    return float((values * mask).sum() / total) if total else 0.0
