"""Sub-pixel shift between an image and a model of it, by Gauss-Newton steps, with its uncertainty.

The image is q(x) = a p(x - d) + b + r(x). Each step solves the weighted normal equations of the model's
gradients for a change of d together with a and b (Lucas & Kanade 1981; Evangelidis & Psarakis 2008 for the
gain and the offset), with Huber's weights on r.

The uncertainty is the sandwich H^-1 S H^-1 of M-estimation (Huber 1967). S is the covariance of the scores,
gradient times weighted residual, summed over all pairs of pixels with a Gaussian weight of their distance
(Conley 1999): residuals of a rendering come from errors of its DEM and are correlated over many pixels, so
that the inverse of H alone (the Cramer-Rao bound for white residuals) is several times too small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.imagery.smoothing import Floats, Mask, Normaliser, weighted_median

_HUBER = 1.345  # 95 % efficient for normally distributed residuals
_STEPS = 30
_CONVERGED_PX = 1e-3
_FARTHEST_STEP_PX = 1.0


@dataclass(frozen=True)
class Scales:
    """Sigmas of Gaussians, pixels: noise filter, local mean, and correlation of the residuals."""

    fine_px: float = 0.7
    coarse_px: float = 8.0
    alike_px: float = 6.0


@dataclass(frozen=True)
class Step:
    """Solution of the normal equations: the change of the shift, rows down and columns right, pixels.

    `gain` is the image's amplitude over the model's, `normal` the matrix of the normal equations; `scores`
    ``(4, N)`` are the gradients times the weighted residuals of the N pixels of the mask `pixels`.
    """

    change: Floats
    gain: float
    normal: Floats
    pixels: Mask
    scores: Floats

    def covariance(self, alike_px: float) -> Floats:
        """Covariance of the change, ``(2, 2)``; `alike_px` as in `Scales`."""
        scores = np.zeros((len(self.scores), *self.pixels.shape))
        scores[:, self.pixels] = self.scores
        # Pairs at distance l have the weight exp(-l^2 / (2 alike^2)); scipy's kernel sums to 1: rescale.
        spread = np.stack([ndimage.gaussian_filter(s, alike_px, mode="constant") for s in scores])
        pairs = np.einsum("ahw,bhw->ab", scores, spread) * (2 * np.pi * alike_px**2)
        inverse = np.linalg.inv(self.normal)
        whole = inverse @ pairs @ inverse
        return np.asarray((whole[:2, :2] + whole[:2, :2].T) / (2 * self.gain**2))


@dataclass(frozen=True)
class Fit:
    """A fitted shift in rows down and columns right, pixels.

    `converged` is False where the normal equations are singular or the steps did not converge; `pictures` are
    the two pictures at the shift, from `Pair.at`, and `correlation` is theirs; `last` is the step that would
    follow.
    """

    shift: Floats
    correlation: float
    converged: bool
    pictures: tuple[Floats, Floats, Mask]
    last: Step | None


class Photograph:
    """An image, prepared for comparison with models of it.

    Parameters
    ----------
    image : ``(H, W)``. mask : ``(H, W)`` bool, its valid pixels. scales : of the normalised pictures.
    """

    def __init__(self, image: Floats, mask: Mask, scales: Scales) -> None:
        self.mask, self.scales = mask, scales
        self._image = image
        self._pixels: Mask | None = None

    def over(self, pixels: Mask) -> tuple[Floats, Normaliser]:
        """The image locally normalised over some of its pixels, and the normaliser for a model.

        Cached until other pixels are asked for: small changes of a shift seldom change the common pixels.
        """
        if self._pixels is None or not np.array_equal(pixels, self._pixels):
            scales = self.scales
            self._normaliser = Normaliser(pixels.astype(np.float64), scales.fine_px, scales.coarse_px)
            self._picture = self._normaliser(self._image)
            self._pixels = pixels
        return self._picture, self._normaliser


class Pair:
    """An image and a model of it, prepared for comparison at any shift.

    Parameters
    ----------
    photograph : the image. model : ``(H, W)``, without NaN. model_mask : ``(H, W)`` bool, its valid pixels.
    """

    def __init__(self, photograph: Photograph, model: Floats, model_mask: Mask) -> None:
        self.photograph, self.model, self.model_mask = photograph, model, model_mask
        self._coefficients = ndimage.spline_filter(model, order=3, mode="nearest")
        # Smaller values are rounding errors of the spline inside shadows.
        self._least = 1e-12 * float(np.abs(self._coefficients).max())
        self._whole = bool(model_mask.all())

    def at(self, shift: Floats) -> tuple[Floats, Floats, Mask]:
        """Image and model, locally normalised over their common valid pixels, and the mask of these."""
        model = moved(self._coefficients, shift)
        model[np.abs(model) < self._least] = 0.0
        rows, cols = (np.arange(side, dtype=np.float64) for side in model.shape)
        inside = ((rows >= shift[0]) & (rows <= rows[-1] + shift[0]))[:, None] & (
            (cols >= shift[1]) & (cols <= cols[-1] + shift[1])
        )
        both = self.photograph.mask & inside
        if not self._whole:
            known = self.model_mask.astype(np.float64)
            both &= ndimage.shift(known, shift, order=1, mode="nearest") > 0.999
        picture, normaliser = self.photograph.over(both)
        return picture, normaliser(model), both

    def correlation(self, shift: Floats) -> float:
        """Pearson's correlation of the normalised pictures; 0 where one of them is constant."""
        image, model, both = self.at(shift)
        return pearson(image[both], model[both])


def moved(coefficients: Floats, shift: Floats) -> Floats:
    """A cubic spline on a pixel grid, shifted by rows down and columns right and sampled at the same pixels.

    Pixels that the shifted grid does not cover are meaningless. All pixels move alike, so four weights per
    axis suffice, where `scipy.ndimage.shift` computes sixteen per pixel.

    Parameters
    ----------
    coefficients : ``(H, W)`` of the spline. shift : ``(2,)``, pixels.
    """
    out = coefficients
    for axis, side in enumerate(coefficients.shape):
        whole = int(np.floor(-shift[axis]))
        part = float(-shift[axis] - whole)
        rest = 1 - part
        weights = (
            rest**3 / 6, 2 / 3 - part**2 + part**3 / 2, 2 / 3 - rest**2 + rest**3 / 2, part**3 / 6,
        )  # fmt: skip
        # The first coefficient beyond the edge is that of the edge, as for scipy's mode "nearest".
        taken = np.take(out, np.clip(np.arange(whole - 1, whole + side + 2), 0, side - 1), axis)
        out = np.zeros(coefficients.shape)
        for k, weight in enumerate(weights):
            out += weight * (taken[k : k + side] if axis == 0 else taken[:, k : k + side])
    return out


def pearson(first: Floats, second: Floats) -> float:
    """Pearson's correlation; 0 where one of the two is constant or there are fewer than two values."""
    if first.size < 2:
        return 0.0
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def refine(pair: Pair, start: Floats, reach_px: float) -> Fit:
    """Shift at which the model matches the image best, from a shift within about a pixel of it.

    Parameters
    ----------
    pair : image and model. start : ``(2,)``, rows down and columns right. reach_px : largest distance from
        `start`, pixels.
    """
    shift = start.astype(np.float64)
    settled, share, previous = False, 1.0, np.zeros(2)
    for _ in range(_STEPS):
        step = solve(*pair.at(shift))
        if step is None:
            break
        change = step.change
        # Robust weights and masks change with the shift: steps that alternate between two shifts are halved.
        share *= 0.5 if change @ previous < 0 else 1.0
        previous = change
        move = share * change * min(1.0, _FARTHEST_STEP_PX / max(float(np.hypot(*change)), 1e-12))
        shift = shift + move
        if np.hypot(*(shift - start)) > reach_px:
            break
        if np.hypot(*move) < _CONVERGED_PX:
            settled = True
            break
    image, model, both = pair.at(shift)
    last = solve(image, model, both)
    found = pearson(image[both], model[both])
    return Fit(shift, found, settled and last is not None, (image, model, both), last)


def solve(image: Floats, model: Floats, both: Mask) -> Step | None:
    """One Gauss-Newton step; None where the pictures do not determine a shift.

    Parameters
    ----------
    image, model : ``(H, W)`` normalised pictures. both : pixels to compare.
    """
    down, right = np.gradient(model)
    # At the edge of the mask, differences involve invalid pixels.
    inner = ndimage.binary_erosion(both)
    # The model moves with the shift: its derivative by d is minus its gradient.
    columns = np.stack([-down, -right, model, np.ones_like(model)])
    design, target = columns[:, inner], image[inner]
    if target.size < 16:
        return None
    # Pixels without gradients (flat ground, shadows) fit well but carry no information on the shift.
    information = design[0] ** 2 + design[1] ** 2
    weight, previous = np.ones_like(target), np.inf
    answer: NDArray[np.float64] | None = None
    for _ in range(10):
        normal = (design * weight) @ design.T
        if not _regular(normal):
            return None
        answer = np.linalg.solve(normal, (design * weight) @ target)
        residual = target - answer @ design
        scale = 1.4826 * weighted_median(np.abs(residual), information)
        if not scale > 0 or abs(scale - previous) < 1e-3 * scale:
            break
        previous = scale
        weight = np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(residual), 1e-300))
    if answer is None or not answer[2] > 0:
        return None
    # Derivatives of the residual by d are the gain times the gradient.
    gain = answer[2]
    return Step(answer[:2] / gain, float(gain), normal, inner, design * (weight * residual))


def _regular(normal: Floats) -> bool:
    """Whether normal equations can be solved, whatever the units of their unknowns."""
    diagonal = np.diag(normal)
    if not np.all(diagonal > 0):
        return False
    scale = 1 / np.sqrt(diagonal)
    return bool(np.linalg.cond(normal * scale[:, None] * scale) < 1e8)
