"""One scale of shape from shading (`pipeline.models.shading`): its cost, and Gauss-Newton steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config.photometry import PhotometrySection
from pipeline.config.predictors import ShadingSection
from pipeline.illumination.photometry import radiance_factor, surface_gradients
from pipeline.models.apriori import match_block_means
from pipeline.models.photometric import cosines
from pipeline.terrain.blocks import block_mean

#: Weight of the squared relative difference of each exposure from the set's.
EXPOSURE_WEIGHT = 2.0
#: Length scale of the albedo's smoothness, pixels.
ALBEDO_PX = 4.0
#: Cosine of incidence below which the brightness falls off exponentially, so that its derivative is not 0.
GRAZING = 0.02
#: Conjugate-gradient steps per Gauss-Newton step.
SOLVER_STEPS = 30
#: Largest number of times that a step is halved while it increases the cost.
HALVED = 3


@dataclass(frozen=True)
class Light:
    """One patch's images on one scale.

    Attributes
    ----------
    images : (N, P, P) radiance over the set's mean lit radiance. lit : (N, P, P) 1 where lit, else 0.
    sun : (N, 3) unit vectors to the Suns.
    """

    images: Tensor
    lit: Tensor
    sun: Tensor

    def coarser(self, factor: int) -> Light:
        """Block means over `factor` x `factor` pixels; blocks that are not completely lit are left out."""
        lit = (block_mean(self.lit, factor) > 0.999).to(self.lit.dtype)
        return Light(block_mean(self.images * self.lit, factor), lit, self.sun)


@dataclass(frozen=True)
class State:
    """The unknowns.

    Attributes
    ----------
    height, albedo : (P, P) heights above the start, pixels, and the albedo's logarithm.
    gain, haze : (N,) factor and offset from renderings to images.
    """

    height: Tensor
    albedo: Tensor
    gain: Tensor
    haze: Tensor


def rendered(right: Tensor, up: Tensor, sun: Tensor, law: PhotometrySection) -> Tensor:
    """Radiance factor of slopes, without cast shadows; its derivative is nowhere 0 because of shadow.

    Parameters
    ----------
    right, up : (H, W), or (N, H, W), slopes along map axes. sun : (N, 3) unit vectors to the Suns. law : the
        reflectance law.

    Returns
    -------
    (N, H, W).
    """
    upright = torch.rsqrt(1 + right.square() + up.square())
    east, north, zenith = sun[:, :, None, None].unbind(1)
    cosine = (zenith - east * right - north * up) * upright
    mu0 = torch.where(cosine > GRAZING, cosine, GRAZING * (cosine.clamp(max=GRAZING) / GRAZING - 1).exp())
    phase = torch.acos(sun[:, 2].clamp(-1, 1))[:, None, None]
    return radiance_factor(mu0, upright, phase, law)


def common_gain(gain: Tensor, pixels: Tensor) -> Tensor:
    """The set's gain, a scalar: mean of the images' gains (N,), weighted with their lit pixels (N,)."""
    return (gain * pixels).sum() / pixels.sum()


def _coarse(values: Tensor, step: int) -> Tensor:
    return values if step == 1 else block_mean(values, step)


def _fine(values: Tensor, size: int) -> Tensor:
    """A coarse map interpolated to `size` x `size` pixels."""
    if values.shape[-1] == size:
        return values
    wide = F.interpolate(values[None, None], size=(size, size), mode="bicubic", align_corners=False)
    return wide[0, 0]


class Scale:
    """The cost on one scale; its weights are relative to the sum over the images' pixels on that scale.

    Parameters
    ----------
    light : images on this scale. start, near : (P, P) z0, in pixels, and lambda, on the fine scale.
    step : fine pixels per pixel. kept : fine pixels per side of a block whose mean is kept, 0 for none.
    section : weights. law : reflectance law.
    """

    def __init__(
        self,
        light: Light,
        start: Tensor,
        near: Tensor,
        step: int,
        kept: int,
        section: ShadingSection,
        law: PhotometrySection,
    ) -> None:
        self.light, self.step, self.kept, self.law = light, step, kept // step, law
        self.start, self.full = _coarse(start, step) / step, start.shape[-1]
        self.stiff = section.smoothness_weight / step**2
        self.near = _coarse(near, step) * step**2
        self.exposure = EXPOSURE_WEIGHT / step**2
        self.haze = section.haze_constraint_weight / step**2
        self.threshold = section.robust_threshold
        self.basis, waves = cosines(self.start.shape[-1], start.device)
        self.bent = waves[:, None] + waves
        # Squared slopes of waves, by central differences.
        self.tilt = (waves * (1 - waves / 4))[:, None] + waves * (1 - waves / 4)
        self.held = section.albedo_constraint_weight * (1 + (ALBEDO_PX / step) ** 2 * self.bent)
        self.pixels = light.lit.sum(dim=(1, 2))

    def search(self, state: State, steps: int) -> State:
        """Take `steps` Gauss-Newton steps; the given and returned states are on the fine scale."""
        height = self._held(_coarse(state.height, self.step) / self.step)
        now = State(height, _coarse(state.albedo, self.step), state.gain, state.haze)
        for _ in range(steps):
            now = self._step(now)
        now = self._cameras(now, self._render(now))
        height, albedo = _fine(now.height, self.full) * self.step, _fine(now.albedo, self.full)
        return State(height, albedo, now.gain, now.haze)

    def _held(self, height: Tensor) -> Tensor:
        """Heights above the start, projected so that the block means are kept."""
        if not self.kept:
            return height
        cells = height.new_zeros(2 * [height.shape[-1] // self.kept])
        return match_block_means(height, cells, self.kept)

    def _render(self, now: State) -> Tensor:
        slopes = surface_gradients(self.start + now.height, 1.0)
        return rendered(*slopes, self.light.sun, self.law) * now.albedo.exp()

    def _left(self, now: State, model: Tensor) -> Tensor:
        """Residuals of the images, (N, H, W)."""
        return self.light.images - now.gain[:, None, None] * model - now.haze[:, None, None]

    def _weights(self, left: Tensor) -> Tensor:
        """Weights of squared residuals, whose weighted sum has the derivative of the robust cost."""
        if self.threshold == 0:
            return self.light.lit
        return self.light.lit / (1 + (left / self.threshold).square())

    def _cost(self, now: State) -> Tensor:
        """The cost of a state, without the terms of exposures and haze."""
        squares = self._left(now, self._render(now)).square()
        if self.threshold > 0:
            squares = self.threshold**2 * torch.log1p(squares / self.threshold**2)
        waves = self.basis @ now.albedo @ self.basis.T
        smooth = self.stiff * roughness(self.start + now.height) + (self.held * waves.square()).sum()
        return (self.light.lit * squares).sum() + smooth + (self.near * now.height.square()).sum()

    def _cameras(self, now: State, model: Tensor) -> State:
        """Fit gains and haze by weighted least squares, with gains constrained to be near the set's."""
        for _ in range(2):
            weight, common = self._weights(self._left(now, model)), common_gain(now.gain, self.pixels)
            firm = self.exposure / common.square()
            mm = (weight * model.square()).sum(dim=(1, 2)) + firm
            m, one = (weight * model).sum(dim=(1, 2)), weight.sum(dim=(1, 2)) + self.haze
            mi = (weight * model * self.light.images).sum(dim=(1, 2)) + firm * common
            i = (weight * self.light.images).sum(dim=(1, 2))
            gain, haze = (one * mi - m * i) / (mm * one - m * m), (mm * i - m * mi) / (mm * one - m * m)
            now = State(now.height, now.albedo, gain, haze)
        return now

    def _step(self, now: State) -> State:
        """One Gauss-Newton step."""
        now = self._cameras(now, self._render(now))
        right, up = surface_gradients(self.start + now.height, 1.0)
        slopes = [each.expand(len(self.pixels), -1, -1).clone().requires_grad_() for each in (right, up)]
        with torch.enable_grad():
            model = rendered(slopes[0], slopes[1], self.light.sun, self.law)
            ahead = torch.autograd.grad(model.sum(), slopes)
        gain = now.gain[:, None, None] * now.albedo.exp()
        # Derivatives of each image's pixels by slope to the right, slope up, and log albedo.
        gains = torch.stack([gain * each for each in (*ahead, model.detach())])
        left = self._left(now, model.detach() * now.albedo.exp())
        weighted = gains * self._weights(left)
        information = torch.einsum("inyx,jnyx->ijyx", weighted, gains)
        wanted = (weighted * left).sum(dim=1)
        height, albedo = self._solve(now, information, wanted)
        before = self._cost(now)
        for _ in range(HALVED):
            after = State(now.height + height, now.albedo + albedo, now.gain, now.haze)
            if bool(self._cost(after) <= before):
                return after
            height, albedo = height / 2, albedo / 2
        return now

    def _solve(self, now: State, information: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The changes of heights and log albedo that minimise the linearised cost."""
        trace = (information[0, 0] + information[1, 1]) / 2
        typical = (trace + 1e-3 * trace.mean() + 1e-9).log().mean().exp()
        scales = torch.stack(
            [
                torch.rsqrt(self.near.mean() + typical * self.tilt + self.stiff * self.bent.square() + 1e-9),
                torch.rsqrt(self.held + information[2, 2].mean()),
            ]
        )
        albedo_waves = self.basis @ now.albedo @ self.basis.T

        def maps(waves: Tensor) -> Tensor:
            height, albedo = self.basis.T @ (waves * scales) @ self.basis
            return torch.stack([self._held(height), albedo])

        def half_cost(waves: Tensor) -> Tensor:
            height, albedo = maps(waves)
            change = torch.stack([*surface_gradients(height, 1.0), albedo])
            images = 0.5 * (information * change[:, None] * change).sum() - (wanted * change).sum()
            smooth = self.stiff * roughness(self.start + now.height + height)
            smooth = smooth + (self.held * (albedo_waves + waves[1] * scales[1]).square()).sum()
            return images + 0.5 * (smooth + (self.near * (now.height + height).square()).sum())

        height, albedo = maps(minimum(half_cost, torch.zeros_like(scales), SOLVER_STEPS))
        return height, albedo


def roughness(height: Tensor) -> Tensor:
    """Sum of squared second differences, z_xx^2 + 2 z_xy^2 + z_yy^2, of a map."""
    along, down = height.diff(n=2, dim=1), height.diff(n=2, dim=0)
    across = height.diff(dim=0).diff(dim=1)
    return along.square().sum() + 2 * across.square().sum() + down.square().sum()


def minimum(quadratic: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
    """Minimum of a quadratic function, by conjugate gradients.

    Parameters
    ----------
    quadratic : returns a scalar, differentiable by torch; must be convex. x : start, any shape.
    steps : number of conjugate-gradient steps.

    Returns
    -------
    Tensor of the shape of `x`; no gradient flows through `quadratic`.
    """

    def gradient(at: Tensor) -> Tensor:
        at = at.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(quadratic(at), at)[0]

    constant = gradient(torch.zeros_like(x))
    left = -gradient(x)
    way, size = left, left.square().sum()
    for _ in range(steps):
        ahead = gradient(way) - constant
        length = size / (way * ahead).sum().clamp_min(1e-20)
        x, left = x + length * way, left - length * ahead
        new = left.square().sum()
        way, size = left + new / size.clamp_min(1e-20) * way, new
    return x
