"""Sub-pixel shift between an image and a model of it, by Gauss-Newton steps, with its uncertainty.

The image is q(x) = a p(x - d) + b + r(x). Each step solves the weighted normal equations of the model's
gradients for a change of d together with a and b (Lucas & Kanade 1981; Evangelidis & Psarakis 2008 for the
gain and the offset), with Huber's weights on r.

The uncertainty is the sandwich H^-1 S H^-1 of M-estimation (Huber 1967). S is the covariance of the scores,
gradient times weighted residual, summed over all pairs of pixels under a Gaussian of their distance (Conley
1999): residuals of a rendering are those of its DEM, so they stay alike over many pixels, and the inverse of
H alone (Cramer and Rao's bound for white residuals) is several times too small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.imagery.smoothing import Floats, Mask, Normaliser, weighted_median

_HUBER = 1.345  # 95 % efficient under a normal law
_STEPS = 30
_CONVERGED_PX = 1e-3
_FARTHEST_STEP_PX = 1.0


@dataclass(frozen=True)
class Scales:
    """Sigmas of Gaussians in pixels: against noise, of the local mean, of what residuals have in common."""

    fine_px: float = 0.7
    coarse_px: float = 8.0
    alike_px: float = 6.0


@dataclass(frozen=True)
class Step:
    """Answer of the normal equations: the change of the shift, rows down and columns right, pixels.

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
        # Pairs of pixels at distance l count exp(-l^2 / (2 alike^2)): scipy's kernel sums to 1, so undo that.
        spread = np.stack([ndimage.gaussian_filter(s, alike_px, mode="constant") for s in scores])
        pairs = np.einsum("ahw,bhw->ab", scores, spread) * (2 * np.pi * alike_px**2)
        inverse = np.linalg.inv(self.normal)
        whole = inverse @ pairs @ inverse
        return np.asarray((whole[:2, :2] + whole[:2, :2].T) / (2 * self.gain**2))


@dataclass(frozen=True)
class Fit:
    """A shift in rows down and columns right, pixels.

    `converged` is False where the normal equations are singular or the steps did not settle; `correlation`
    is that of the two pictures at the shift, which are `pictures`, as of `Pair.at`; `last` is the step that
    would follow.
    """

    shift: Floats
    correlation: float
    converged: bool
    pictures: tuple[Floats, Floats, Mask]
    last: Step | None


class Photograph:
    """An image, ready to be compared with models of it.

    Parameters
    ----------
    image : ``(H, W)``, valid where `mask` is. scales : of the pictures that are compared.
    """

    def __init__(self, image: Floats, mask: Mask, scales: Scales) -> None:
        self.mask, self.scales = mask, scales
        self._image = image
        self._pixels: Mask | None = None

    def over(self, pixels: Mask) -> tuple[Floats, Normaliser]:
        """The image locally normalised over some of its pixels, and what does the same to a model.

        Kept until other pixels are asked for: small steps of a shift seldom change which both pictures have.
        """
        if self._pixels is None or not np.array_equal(pixels, self._pixels):
            scales = self.scales
            self._normaliser = Normaliser(pixels.astype(np.float64), scales.fine_px, scales.coarse_px)
            self._picture = self._normaliser(self._image)
            self._pixels = pixels
        return self._picture, self._normaliser


class Pair:
    """A photograph and the model of it, ready to be compared at any shift.

    Parameters
    ----------
    photograph : the image. model : ``(H, W)``, without NaN. model_mask : where it holds.
    """

    def __init__(self, photograph: Photograph, model: Floats, model_mask: Mask) -> None:
        self.photograph, self.model, self.model_mask = photograph, model, model_mask
        self._coefficients = ndimage.spline_filter(model, order=3, mode="nearest")
        # What rounding leaves of the spline inside shadows is no picture.
        self._least = 1e-12 * float(np.abs(self._coefficients).max())
        self._whole = bool(model_mask.all())

    def at(self, shift: Floats) -> tuple[Floats, Floats, Mask]:
        """Both pictures locally normalised over the pixels that both have, and those pixels."""
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
        """Pearson's correlation of the normalised pictures; 0 where one is flat."""
        image, model, both = self.at(shift)
        return pearson(image[both], model[both])


def moved(coefficients: Floats, shift: Floats) -> Floats:
    """A cubic spline of the pixels of a grid, moved in rows down and columns right, at the same pixels.

    Where the spline's own pixels do not reach, the result means nothing.
    All pixels move alike, so four weights per axis do, where `scipy.ndimage.shift` takes sixteen per pixel.
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
    pair : the two pictures. start : rows down, columns right. reach_px : how far from `start` it may end.
    """
    shift = start.astype(np.float64)
    settled, share, previous = False, 1.0, np.zeros(2)
    for _ in range(_STEPS):
        step = solve(*pair.at(shift))
        if step is None:
            break
        change = step.change
        # Robust weights and masks change with the shift: steps to and fro between two answers are halved.
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
    """One Gauss-Newton step; None where the shift is not seen.

    Parameters
    ----------
    image, model : ``(H, W)`` normalised pictures. both : pixels to compare.
    """
    down, right = np.gradient(model)
    # At the rim of the mask a difference reaches what is not valid.
    inner = ndimage.binary_erosion(both)
    # The model moves with the shift: its derivative by d is minus its gradient.
    columns = np.stack([-down, -right, model, np.ones_like(model)])
    design, target = columns[:, inner], image[inner]
    if target.size < 16:
        return None
    # Flat ground and the inside of shadows fit well and say nothing: pixels count as their gradients tell.
    tells = design[0] ** 2 + design[1] ** 2
    weight, previous = np.ones_like(target), np.inf
    answer: NDArray[np.float64] | None = None
    for _ in range(10):
        normal = (design * weight) @ design.T
        if not _regular(normal):
            return None
        answer = np.linalg.solve(normal, (design * weight) @ target)
        residual = target - answer @ design
        scale = 1.4826 * weighted_median(np.abs(residual), tells)
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
