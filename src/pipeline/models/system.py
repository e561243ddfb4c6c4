"""A super-resolution system: network, process and the space they live in, from a batch to DEMs in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.bridges.base import Generators, TrainingPair, normal
from pipeline.bridges.factory import make_process, sampler_kwargs
from pipeline.config.bridge import BridgeSection, SamplerSection
from pipeline.config.vae import VaeSection
from pipeline.models.aligned import AlignedCondition, AlignedNet
from pipeline.models.apriori import crop_halo, match_block_means
from pipeline.models.factory import build_network
from pipeline.models.inputs import SetInputs, height_scale
from pipeline.models.losses import draws_score, gaussian_score
from pipeline.models.photometric import SetLight
from pipeline.models.vae import AutoencoderKL


class Patches(SetInputs, Protocol):
    """A batch with (or without) the truth; see `pipeline.shards.batches.Batch`."""

    @property
    def dem(self) -> Tensor | None: ...


class Widening(Protocol):
    """How far draws are moved from the estimate, see `pipeline.models.calibration`."""

    def __call__(
        self, states: Tensor, spread_px: Tensor | None, light: SetLight, generators: Generators
    ) -> Tensor:
        """Move departures (B M, 1, P, P) from an estimate of standard deviation (B, 1, P, P), pixels."""


class Codec:
    """Heights in metres to the VAE's input and back.

    Parameters
    ----------
    vae : the autoencoder. section : its config (`target`, `height_unit`).
    """

    def __init__(self, vae: AutoencoderKL, section: VaeSection) -> None:
        self.vae, self.section = vae, section

    def maps(self, dem: Tensor, batch: SetInputs) -> Tensor:
        """What the VAE sees of a DEM (B, P, P): (B, 1, P, P) in the section's unit."""
        scale = height_scale(self.section.height_unit, batch.pixel_m)[:, None, None]
        heights = dem - batch.prior if self.section.target == "residual" else dem
        return (heights * scale)[:, None]

    def dem(self, maps: Tensor, batch: SetInputs) -> Tensor:
        """Invert `maps`: (B, 1, P, P) to metres (B, P, P)."""
        scale = height_scale(self.section.height_unit, batch.pixel_m)[:, None, None]
        heights = maps[:, 0] / scale
        return heights + batch.prior if self.section.target == "residual" else heights

    def encode(self, dem: Tensor, batch: SetInputs, generator: Generators, count: int = 1) -> list[Tensor]:
        """Sampled latents (B, C, h, w), raw and unscaled as published: `count` draws of one posterior."""
        posterior = self.vae.encode(self.maps(dem, batch))
        std = torch.exp(0.5 * posterior.logvar)
        return [posterior.mean + std * normal(posterior.mean, generator) for _ in range(count)]

    def decode(self, latents: Tensor, batch: SetInputs) -> Tensor:
        """Latents (B, C, h, w) to metres (B, P, P)."""
        return self.dem(self.vae.decode(latents), batch)


class System(nn.Module):
    """One trained (or training) system.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.
    state_scale : heights, in the section's unit, that count as 1 in the process.
    codec : the VAE, for the latent space; it is frozen and stays out of the state dict.
    residual_scale : std of truth minus start, in states; the diffusion works on residuals of std 1.

    Attributes
    ----------
    widening : how much wider clones are spread than the network draws them; None where it is not known.
    """

    def __init__(
        self,
        section: BridgeSection,
        size_px: int,
        factor: int,
        state_scale: float,
        codec: Codec | None = None,
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.section, self.size_px, self.factor, self.state_scale = section, size_px, factor, state_scale
        latent = codec.vae.latent_shape(size_px) if codec is not None else None
        self.network = build_network(section, size_px, factor, latent)
        self.rescale(residual_scale)
        self.widening: Widening | None = None
        self._codec = [codec]  # in a list, so that the VAE is no submodule

    @property
    def codec(self) -> Codec:
        """The VAE of a latent system."""
        codec = self._codec[0]
        if codec is None:
            raise ValueError("bridge.space: expected a VAE for the latent space, found none")
        return codec

    @property
    def halo_cells(self) -> int:
        """A priori cells beyond the patch that the network sees."""
        return self.section.lr_halo_px // self.factor

    @property
    def relative(self) -> bool:
        """Whether states count from the a priori DEM; an estimate does so whatever the target."""
        return self.section.target == "residual" or self.section.posterior_mean

    def _scale(self, batch: SetInputs) -> Tensor:
        """Metres to states, (B, 1, 1)."""
        unit = height_scale(self.section.height_unit, batch.pixel_m) / self.state_scale
        return unit[:, None, None]

    def condition(self, batch: SetInputs) -> Any:
        """The part that does not depend on time, with heights in units of the state."""
        cond = self.network.condition(batch)
        if not isinstance(cond, AlignedCondition):
            return cond

        def scaled(heights: Tensor | None) -> Tensor | None:
            return None if heights is None else heights / self.state_scale

        return replace(cond, mean=scaled(cond.mean), spread=scaled(cond.spread), origin=scaled(cond.origin))

    def _states(
        self, dem: Tensor, batch: SetInputs, cond: Any, generator: Generators, count: int = 1
    ) -> list[Tensor]:
        """A DEM (B, P, P) in metres as the process sees it; in the latent space, `count` draws of it."""
        if self.section.space == "latent":
            with torch.no_grad():
                return self.codec.encode(dem, batch, generator, count)
        heights = dem - batch.prior if self.relative else dem
        state = (heights * self._scale(batch))[:, None]
        if self.section.posterior_mean:
            state = state - cond.mean.detach()
            if cond.spread is not None:
                state = state / cond.spread.detach()
        return [state] * count

    def starts(self, batch: SetInputs, cond: Any, generator: Generators, count: int = 1) -> list[Tensor]:
        """Where the process starts: the bicubic a priori DEM; with `posterior_mean`, the estimate."""
        if self.section.posterior_mean:
            return [torch.zeros_like(batch.prior)[:, None]] * count
        return self._states(batch.prior, batch, cond, generator, count)

    def rescale(self, residual_scale: float) -> None:
        """Make the process for residuals of the given std (used by the diffusion alone)."""
        self.residual_scale = residual_scale
        self.process = make_process(self.section, residual_scale=residual_scale)

    @torch.no_grad()
    def residual_std(self, batch: Patches, generators: Sequence[torch.Generator]) -> float:
        """RMS of truth minus start over a batch, in states; 1 with `posterior_mean`: its rest is unknown."""
        if self.section.posterior_mean:
            return 1.0
        assert batch.dem is not None
        x0 = self._states(batch.dem, batch, None, generators)[0]
        x1 = self.starts(batch, None, generators)[0]
        return float((x0 - x1).pow(2).mean().sqrt())

    def losses(self, batch: Patches, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """Training losses of a batch; ``loss`` is the one to minimise.

        Parameters
        ----------
        batch : with the truth. generators : one a sample, so that samples do not depend on their neighbours.
        """
        assert batch.dem is not None
        cond = self.condition(batch)
        x0 = self._states(batch.dem, batch, cond, generators)[0]
        x1 = self.starts(batch, cond, generators)[0]
        pair = self.process.training_pair(x0, x1, generators)
        error = self._score(pair, cond, generators)
        out = {"bridge": (error * pair.weight).mean()}
        out["loss"] = out["bridge"]
        estimate = getattr(cond, "mean", None)
        if estimate is not None:
            truth = ((batch.dem - batch.prior) * self._scale(batch))[:, None]
            out["mean"] = ((estimate.float() - truth) ** 2).mean()
            slopes = _squared_slopes(estimate.float() - truth)
            out["loss"] = out["loss"] + self.section.mean_weight * out["mean"]
            out["loss"] = out["loss"] + self.section.slope_weight * slopes
            if cond.spread is not None:
                left = (truth - estimate).detach().float()
                out["spread"] = gaussian_score(left, cond.spread).mean()
                out["loss"] = out["loss"] + self.section.mean_weight * out["spread"]
        return out

    def _score(self, pair: TrainingPair, cond: Any, generators: Generators) -> Tensor:
        """Each sample's squared error or CRPS, (B,), of what the network says of the process's target."""
        if self.section.score == "squared":
            output = self.network(pair.x_t, pair.t, cond).float()
            return ((output - pair.target) ** 2).flatten(1).mean(dim=1)
        # The draws of one sample stand beside each other in one pass.
        count = self.section.draws
        noise = torch.stack([self._noise(pair.x_t, generators) for _ in range(count)], dim=1).flatten(0, 1)
        x_t, t = pair.x_t.repeat_interleave(count, dim=0), pair.t.repeat_interleave(count, dim=0)
        output = self.network(x_t, t, cond.repeat(count), noise).float().unflatten(0, (-1, count))
        return draws_score(output, pair.target)

    def _noise(self, like: Tensor, generators: Generators) -> Tensor:
        """Noise maps that make the network's output a draw."""
        assert isinstance(self.network, AlignedNet)
        return self.network.draw_noise(like, generators)

    @torch.no_grad()
    def sample(
        self,
        batch: SetInputs,
        members: int,
        generators: Sequence[torch.Generator],
        sampler: SamplerSection | None = None,
    ) -> Tensor:
        """Clones of the terrain.

        Parameters
        ----------
        batch : B patches. members : clones a patch, M.
        generators : one a patch; a patch's clones depend on nothing else.
        sampler : in the place of the section's own.

        Returns
        -------
        (B, M, P, P) metres above the batch's reference.
        """
        return self._draw(batch, members, generators, sampler)[0]

    @torch.no_grad()
    def sample_around(
        self,
        batch: SetInputs,
        members: int,
        generators: Sequence[torch.Generator],
        sampler: SamplerSection | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None, SetLight]:
        """Clones as the network draws them, not widened, and what they lie around.

        Returns
        -------
        (B, M, P, P) and (B, P, P) metres, clones and estimate; (B, P, P) pixels, the estimate's own standard
        deviation, or None where the network gives none; and the sets' light.

        Raises
        ------
        ValueError
            If the system has no estimate.
        """
        if not self.section.posterior_mean:
            raise ValueError("posterior_mean: expected true, for clones around an estimate, found false")
        widening, self.widening = self.widening, None
        try:
            clones, cond = self._draw(batch, members, generators, sampler)
        finally:
            self.widening = widening
        rest = torch.zeros_like(batch.prior)[:, None]
        estimate = self._heights(rest, batch, cond, 1)[:, 0]
        spread = self._spread_px(batch, cond)
        return clones, estimate, None if spread is None else spread[:, 0], cond.light

    def _spread_px(self, batch: SetInputs, cond: Any) -> Tensor | None:
        """The estimate's standard deviation (B, 1, P, P), pixels."""
        if cond.spread is None:
            return None
        return cond.spread / (self._scale(batch) * batch.pixel_m[:, None, None])[:, None]

    def _draw(
        self,
        batch: SetInputs,
        members: int,
        generators: Sequence[torch.Generator],
        sampler: SamplerSection | None,
    ) -> tuple[Tensor, Any]:
        """Clones (B, M, P, P), and the condition that they were drawn under."""
        cond = self.condition(batch)
        x1 = torch.stack(self.starts(batch, cond, generators, members), dim=1).flatten(0, 1)
        repeated = cond.repeat(members)
        each = [g for g in generators for _ in range(members)]

        def predict(x: Tensor, t: Tensor) -> Tensor:
            if self.section.score == "squared":
                return self.network(x, t, repeated).float()
            return self.network(x, t, repeated, self._noise(x, each)).float()

        x0 = self.process.sample(
            predict, x1, generator=each, **sampler_kwargs(sampler or self.section.sampler)
        )
        if self.section.posterior_mean:
            # The estimate is the mean: a departure from it is as likely as its mirror image.
            x0 = torch.where(normal(x0.new_empty(len(x0), 1, 1, 1), each) < 0, -x0, x0)
            if self.widening is not None:
                x0 = self.widening(x0, self._spread_px(batch, cond), cond.light, each)
        return self._heights(x0, batch, repeated, members), cond

    def _heights(self, states: Tensor, batch: SetInputs, cond: Any, members: int) -> Tensor:
        """Final states (B*M, ...) to metres (B, M, P, P)."""
        size = self.size_px
        if self.section.space == "latent":
            per_member = states.unflatten(0, (-1, members)).unbind(dim=1)
            dem = torch.stack([self.codec.decode(z, batch) for z in per_member], dim=1)
        else:
            if self.section.posterior_mean:
                if cond.spread is not None:
                    states = states * cond.spread
                states = states + cond.mean
            dem = states[:, 0].reshape(-1, members, size, size) / self._scale(batch)[:, None]
            if self.relative:
                dem = dem + batch.prior[:, None]
        if self.section.keep_block_means:
            lr = crop_halo(batch.lr, size // self.factor)[:, None].expand(-1, members, -1, -1)
            dem = match_block_means(dem, lr, self.factor)
        return dem


def _squared_slopes(error: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of an error map."""
    along_x = (error[..., :, 1:] - error[..., :, :-1]).pow(2).mean()
    along_y = (error[..., 1:, :] - error[..., :-1, :]).pow(2).mean()
    return along_x + along_y


def state_scale(section: BridgeSection, statistics: dict[str, float], pixel_m: float) -> float:
    """The scale of a section's state, in its unit of height; see `BridgeSection.state_scale`."""
    if section.state_scale is not None:
        return section.state_scale
    if section.space == "latent" or (section.target == "dem" and not section.posterior_mean):
        return 1.0
    return statistics["residual_px"] * (1.0 if section.height_unit == "pixel" else pixel_m / 1000)
