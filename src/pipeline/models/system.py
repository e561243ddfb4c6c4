"""A super-resolution system: network, process and state space, from a batch to DEMs in metres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.bridges.base import Generators, Sources, TrainingPair, normal, one_for_each, shared_by_clones
from pipeline.bridges.factory import make_process, sampler_kwargs
from pipeline.config.bridge import BridgeSection, SamplerSection
from pipeline.models.aligned import AlignedCondition, AlignedNet
from pipeline.models.batch import Batch
from pipeline.models.factory import build_network
from pipeline.models.losses import draws_score
from pipeline.models.photometric import SetLight
from pipeline.models.published import PublishedCondition
from pipeline.models.spaces import Codec, Departures, LatentSpace, PixelSpace, Space

Condition = PublishedCondition | AlignedCondition
"""A network's conditioning on B sample sets, independent of time."""

#: RMS error, in pixels, below which relative losses do not decrease further.
FLOOR_PX = 0.005

Widening = Callable[[Tensor, Tensor | None, SetLight, Generators], Tensor]
"""Scales departures (B M, 1, P, P) from an estimate of standard deviation (B, 1, P, P), pixels."""


class System(nn.Module):
    """One trained (or training) system.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.
    state_scale : height, in the section's unit, of a state of 1.
    codec : the VAE, for the latent space; it is frozen and stays out of the state dict.
    residual_scale : std of truth minus start, in states; the diffusion works on residuals of std 1.

    Attributes
    ----------
    pixels : heights as states. space : state space of the process without an estimate, see `around`.
    widening : calibration of the clones' spread; None without a calibration.
    hit_share : of the estimate's change of the refined DEM that clones keep in pixels with altimetry.
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
        self.hit_share = 1.0
        self.pixels = PixelSpace(section, factor, state_scale)
        self.space: Space = self.pixels if codec is None else LatentSpace(codec)

    @property
    def codec(self) -> Codec:
        """The VAE of a latent system; ValueError for others."""
        if not isinstance(self.space, LatentSpace):
            raise ValueError("bridge.space: expected a VAE for the latent space, found none")
        return self.space.codec

    @property
    def halo_cells(self) -> int:
        """Number of a priori cells beyond the patch, on each side, that the network needs."""
        return self.section.lr_halo_px // self.factor

    def condition(self, batch: Batch) -> Condition:
        """The part that does not depend on time, with heights in units of the state."""
        return self.network.condition(batch).in_states(self.state_scale)

    def around(self, cond: Condition) -> Space:
        """State space under a condition: with `posterior_mean`, departures from the estimate."""
        if not self.section.posterior_mean:
            return self.space
        assert cond.estimate is not None
        return Departures(self.pixels, cond.estimate)

    def rescale(self, residual_scale: float) -> None:
        """Rebuild the process for residuals of the given std (used only by the diffusion)."""
        self.residual_scale = residual_scale
        self.process = make_process(self.section, residual_scale=residual_scale)

    @torch.no_grad()
    def residual_std(self, batch: Batch, generators: Sequence[torch.Generator]) -> float:
        """RMS of truth minus start over a batch, in states; 1 with `posterior_mean`, where it is unknown."""
        if self.section.posterior_mean:
            return 1.0
        assert batch.dem is not None
        x0 = self.space.states(batch.dem, batch, generators)[0]
        x1 = self.space.starts(batch, generators)[0]
        return float((x0 - x1).pow(2).mean().sqrt())

    def losses(self, batch: Batch, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """Training losses of a batch; ``loss`` is the one to minimise.

        Parameters
        ----------
        batch : with the truth. generators : one per sample, so that samples do not depend on each other.
        """
        assert batch.dem is not None
        cond = self.condition(batch)
        space = self.around(cond)
        x0 = space.states(batch.dem, batch, generators)[0]
        x1 = space.starts(batch, generators)[0]
        pair = self.process.training_pair(x0, x1, generators)
        error = self._score(pair, cond, generators)
        out = {"bridge": (error * pair.weight).mean()}
        out["loss"] = out["bridge"]
        if cond.estimate is not None:
            truth = self.pixels.residual(batch.dem, batch)
            if self.section.relative_loss:
                floor = FLOOR_PX * float(self.pixels.scale(batch)[0] * batch.pixel_m[0])
                out["mean"], slopes, spread = cond.estimate.relative_losses(truth, floor)
            else:
                out["mean"], slopes, spread = cond.estimate.losses(truth)
            out["loss"] = out["loss"] + self.section.mean_weight * out["mean"]
            out["loss"] = out["loss"] + self.section.slope_weight * slopes
            if spread is not None:
                out["spread"] = spread
                out["loss"] = out["loss"] + self.section.mean_weight * spread
        return out

    def _score(self, pair: TrainingPair, cond: Condition, generators: Generators) -> Tensor:
        """Each sample's squared error or CRPS, (B,), of the network's output against the process's target."""
        if self.section.score == "squared":
            output = self.network(pair.x_t, pair.t, cond).float()
            return ((output - pair.target) ** 2).flatten(1).mean(dim=1)
        # The draws of one sample are adjacent in one pass.
        count = self.section.draws
        noise = torch.stack([self._noise(pair.x_t, generators) for _ in range(count)], dim=1).flatten(0, 1)
        x_t, t = pair.x_t.repeat_interleave(count, dim=0), pair.t.repeat_interleave(count, dim=0)
        output = self.network(x_t, t, cond.repeat(count), noise).float().unflatten(0, (-1, count))
        return draws_score(output, pair.target)

    def _noise(self, like: Tensor, generators: Generators) -> Tensor:
        """Noise maps, with which the network's output is a random draw."""
        assert isinstance(self.network, AlignedNet)
        return self.network.draw_noise(like, generators)

    @torch.no_grad()
    def sample(
        self,
        batch: Batch,
        members: int,
        generators: Sources,
        sampler: SamplerSection | None = None,
        mirrored: bool = True,
    ) -> Tensor:
        """Draw clones of the terrain.

        Parameters
        ----------
        batch : B patches. members : clones per patch, M.
        generators : one per patch, the only source of its clones' randomness. With
            `pipeline.bridges.fields.WindowNoise`, patches are windows of one map.
        sampler : replaces the section's own; None to use that.
        mirrored : with an estimate, every second clone is the mirror image of the one before it (antithetic
            variates, Hammersley & Morton 1956), so that the mean of an even number is exactly the estimate.
            They are scaled so that their variance (divisor M - 1) is that of independent clones. Ranks and
            fair scores require independent clones.

        Returns
        -------
        (B, M, P, P) metres above the batch's reference.
        """
        return self._draw(batch, members, generators, sampler, self.widening, mirrored)[0]

    @torch.no_grad()
    def sample_around(
        self,
        batch: Batch,
        members: int,
        generators: Sequence[torch.Generator],
        sampler: SamplerSection | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None, SetLight]:
        """Draw clones without calibration, and their estimate.

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
        clones, cond = self._draw(batch, members, generators, sampler, None)
        space = self.around(cond)
        assert isinstance(space, Departures)
        estimate = space.heights(space.starts(batch, generators)[0], batch, 1)[:, 0]
        spread = space.spread_px(batch)
        return clones, estimate, None if spread is None else spread[:, 0], space.estimate.light

    def _calibrated(self, cond: Condition, batch: Batch) -> Condition:
        """The condition with the calibrated estimate in pixels with altimetry."""
        if self.hit_share == 1.0 or batch.spots is None or not self.section.refine:
            return cond
        assert isinstance(cond, AlignedCondition) and cond.estimate is not None
        estimate = cond.estimate.nearer_start(batch.spots[:, None] > 0, self.hit_share)
        return replace(cond, estimate=estimate)

    def _draw(
        self,
        batch: Batch,
        members: int,
        generators: Sources,
        sampler: SamplerSection | None,
        widening: Widening | None,
        mirrored: bool = False,
    ) -> tuple[Tensor, Condition]:
        """Clones (B, M, P, P), metres, and the network's conditioning."""
        cond = self._calibrated(self.condition(batch), batch)
        space = self.around(cond)
        mirrored = mirrored and isinstance(space, Departures)
        wanted, members = members, (members + 1) // 2 if mirrored else members
        each = one_for_each(generators, members)
        # In latent space the starts are random too, drawn clone by clone from each patch's own source.
        x1 = torch.stack(space.starts(batch, shared_by_clones(generators), members), dim=1).flatten(0, 1)
        repeated = cond.repeat(members)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            if self.section.score == "squared":
                return self.network(x, t, repeated).float()
            return self.network(x, t, repeated, self._noise(x, each)).float()

        settings = sampler_kwargs(sampler or self.section.sampler)
        x0 = self.process.sample(predict, x1, generator=each, **settings)
        if isinstance(space, Departures):
            # The estimate is the mean: departures from it get a random sign.
            x0 = torch.where(normal(x0.new_empty(len(x0), 1, 1, 1), each) < 0, -x0, x0)
            if widening is not None:
                x0 = widening(x0, space.spread_px(batch), space.estimate.light, each)
        if mirrored:
            x0 = with_mirrored(x0, wanted)
        return space.heights(x0, batch, wanted), cond


def with_mirrored(departures: Tensor, members: int) -> Tensor:
    """Each of B sets' (M + 1) // 2 departures followed by its mirror image: (B M, ...) of `members` M.

    They are scaled so that their variance (divisor M - 1) is that of the departures' distribution.
    """
    if members == 1:
        return departures
    kept = departures.unflatten(0, (-1, (members + 1) // 2))
    paired = torch.stack([kept, -kept], dim=2).flatten(1, 2)[:, :members].flatten(0, 1)
    share = members / (members + 1) if members % 2 else (members - 1) / members
    return paired * share**0.5


def state_scale(section: BridgeSection, statistics: dict[str, float], pixel_m: float) -> float:
    """Height of a state of 1, in kilometres or pixels as `section.height_unit` says.

    Parameters
    ----------
    section : with a `state_scale`, that number is returned.
    statistics : of the manifest's training patches; ``residual_px`` is read where the section leaves the
        scale open, see `BridgeSection.state_scale`. pixel_m : pixel size, metres.

    Raises
    ------
    KeyError
        If ``residual_px`` is needed and absent.
    """
    if section.state_scale is not None:
        return section.state_scale
    if section.space == "latent" or (section.target == "dem" and not section.posterior_mean):
        return 1.0
    return statistics["residual_px"] * (1.0 if section.height_unit == "pixel" else pixel_m / 1000)
