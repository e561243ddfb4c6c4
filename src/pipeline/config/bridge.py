"""Sections ``published`` and ``bridge``: a system and how its clones are drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Positive, PositiveInt, Section, Seed, Share, unlike
from pipeline.config.names import BRIDGE_STAGES
from pipeline.config.training import OptimiserSection


class BridgeStages(Section):
    """The stages of a training, each warm-started from the last; null leaves one out."""

    fibonacci: OptimiserSection | None = OptimiserSection(samples=260_000 * 256)
    """evenly spread Suns."""
    arcs: OptimiserSection | None = OptimiserSection(samples=5_300 * 256)
    """realistic arcs of Suns."""
    missing: OptimiserSection | None = OptimiserSection(samples=2_800 * 256)
    """missing strips."""
    real: OptimiserSection | None = None
    """rendered scenes; the keys of `fibonacci`, or null for no such stage, which any stage may be."""
    real_2: OptimiserSection | None = None
    """a further stage on rendered scenes; null for none."""
    real_3: OptimiserSection | None = None
    """a further stage on rendered scenes; null for none."""

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the stages that are not null, in order."""
        return tuple(name for name in BRIDGE_STAGES if getattr(self, name) is not None)

    def previous(self, stage: str) -> str | None:
        """The stage whose weights a given one starts from; None for the first."""
        before = self.given.index(stage) - 1
        return None if before < 0 else self.given[before]

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.given:
            raise ValueError("expected at least one stage, found none")
        return self


Evaluations = Annotated[int, Field(ge=1, le=1000)]
SamplerKind = Literal["posterior", "ode", "euler", "heun", "dbim"]
TimeGrid = Literal["uniform", "quadratic"]


def evaluations_wanted(nfe: int, kind: str, process: str = "", steps: int = 0) -> str | None:
    """What a number of network evaluations should be; None where this one is possible."""
    if kind == "heun" and nfe % 2:
        return "expected an even number with kind 'heun'"
    if process == "i2sb" and nfe >= steps:
        return f"expected less than steps = {steps} with process 'i2sb'"
    return None


class SamplerSection(Section):
    """How clones are drawn; trained systems and given weights have their own defaults."""

    nfe: Evaluations
    """network evaluations per clone (published 10)."""
    kind: SamplerKind
    """``posterior`` (published), ``ode`` or ``dbim`` for I2SB; ``euler``, ``heun`` (two evaluations per
    step) or ``dbim`` for the interpolant; ``euler`` or ``dbim`` for the diffusion."""
    eta: Share
    """share of the full noise in each step of ``dbim`` (0 keeps the noise drawn first); others ignore it."""
    grid: TimeGrid
    """``uniform`` steps (published) or ``quadratic``, finer towards the truth."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        wanted = evaluations_wanted(self.nfe, self.kind)
        if wanted:
            raise ValueError(f"nfe: {wanted}, found {self.nfe}")
        return self


class BridgeSampler(SamplerSection):
    """How clones of a trained system are drawn: the published defaults."""

    nfe: Evaluations = 10
    kind: SamplerKind = "posterior"
    eta: Share = 0.0
    grid: TimeGrid = "uniform"


SAMPLER_KINDS: dict[str, tuple[SamplerKind, ...]] = {
    "i2sb": ("posterior", "ode", "dbim"),
    "interpolant": ("euler", "heun", "dbim"),
    "diffusion": ("euler", "dbim"),
}


def any_sampler(process: str) -> BridgeSampler:
    """A sampler that fits a process: for sections of weights, whose training does not draw clones."""
    return BridgeSampler(kind=SAMPLER_KINDS[process][0], nfe=1)


class BridgeSection(Section):
    """One super-resolution system."""

    space: Literal["latent", "pixel"] = "latent"
    """``latent`` (of the VAE, published) or ``pixel``."""
    target: Literal["dem", "residual"] = "dem"
    """``dem`` (published) or ``residual`` = DEM minus bicubic a priori."""
    process: Literal["i2sb", "interpolant", "diffusion"] = "i2sb"
    """``i2sb`` (published), ``interpolant`` (Yasuda) or ``diffusion`` (its baseline)."""
    conditioning: Literal["published", "aligned"] = "published"
    """``published`` (two 768-vectors) or ``aligned`` (full-resolution fields in register)."""
    set_encoder: Literal["pooled", "strided"] = "strided"
    """encoder of the images with conditioning ``published``: ``pooled`` (published: average-pooled
    residual blocks, norms of the transformers without parameters) or ``strided`` (strided convolutions)."""
    missing_pixel: float = 0.0
    """input of conditioning ``published`` where an image has no data (published -1; 0 is dark)."""
    network: Literal["dit", "unet"] = "dit"
    """``dit`` (published) or ``unet``."""
    lr_halo_px: Annotated[int, Field(ge=0)] = 0
    """a priori terrain beyond the patch that the network gets, pixels (published 0)."""
    height_unit: Literal["km", "pixel"] = "km"
    """``km`` (published: metres / 1000) or ``pixel`` (scale-free)."""
    width: PositiveInt = 768
    """channels of the transformer (published 768)."""
    depth: PositiveInt = 6
    """blocks of the transformer (published 6)."""
    heads: PositiveInt = 12
    """attention heads of the transformer (published 12); must divide `width`."""
    patch_px: PositiveInt = 2
    """side of the transformer's patches, pixels of its input (published 2)."""
    base: PositiveInt = 32
    """channels of the U-Net."""
    beta_max: Annotated[float, Field(gt=0, le=10)] = 0.3
    """largest beta of I2SB's noise schedule (published 0.3)."""
    steps: Annotated[int, Field(ge=2, le=10_000)] = 1000
    """steps of I2SB's noise schedule (published 1000)."""
    start_share: Share = 0.0
    """share of I2SB's training pairs at the a priori end of the bridge, where the state has no information
    about the truth (published 0: uniform times)."""
    noise: Positive = 0.2
    """the interpolant's epsilon (published 0.2)."""
    weighting: Literal["noise", "score"] = "noise"
    """weight of the diffusion's squared error of the noise: ``noise`` (1) or ``score`` (1/sigma^2, Yasuda's
    loss of the score, which a few samples near the truth dominate: it hardly trains)."""
    score: Literal["squared", "crps"] = "squared"
    """loss: the ``squared`` error (published), by which the network learns the mean of its target, or the
    fair ``crps`` of draws that differ in a noise input, by which it learns the distribution."""
    draws: Annotated[int, Field(ge=2, le=32)] = 2
    """draws of one sample that the score ``crps`` compares."""
    posterior_mean: bool = False
    """estimate the posterior mean first; the bridge then models the remainder."""
    mean_weight: Annotated[float, Field(ge=0)] = 1.0
    """weight of the posterior-mean loss."""
    slope_weight: Annotated[float, Field(ge=0)] = 0.0
    """weight of the slope term of the posterior-mean loss."""
    state_scale: Positive | None = None
    """heights, in the section's unit, that count as 1 in the bridge; null takes 1 for target ``dem``, and
    for ``residual`` or `posterior_mean` the RMS of the training patches' DEM about their block means. With
    score ``crps`` and `posterior_mean`, states are in units of the estimate's own spread, and this is the
    unit of the estimate's losses only."""
    relative_loss: bool = False
    """whether losses of the estimate are divided by its expected error, so that sparse altimetry, whose
    errors are large, does not dominate dense altimetry."""
    refine: bool = False
    """whether the network starts from a Gauss-Newton solution of photometric stereo and altimetry (see
    `pipeline.models.refinement`) instead of the a priori DEM; needs conditioning ``aligned`` and
    `posterior_mean`."""
    calibrate: bool = False
    """fit the spread of clones on the validation patches, see docs/concepts.md; needs `posterior_mean`."""
    calibration_margin: Annotated[float, Field(gt=0, le=10)] = 1.0
    """factor on the fitted spread where there are images, for properties of real images that those of the
    validation patches lack."""
    hit_share: Share = 1.0
    """with `refine`, share of the network's change of the refined DEM that clones keep in pixels with
    altimetry, where finished products are better than simulated spots; part of the calibration."""
    keep_block_means: bool = False
    """project samples so that their block means equal the a priori DEM."""
    init: str | None = None
    """folder of weights (or the safetensors file) that the first stage starts from; null for none.
    Identified by content, not by path. Each tensor whose name and shape agree is used, which at least half
    must; with a null `state_scale` theirs is used too, where states are of the same kind."""
    stages: BridgeStages = BridgeStages()
    sampler: BridgeSampler = BridgeSampler()
    augmentation: Literal["flips", "square"] = "flips"
    """``flips`` (published), or ``square``: its eight symmetries."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """weight decay of AdamW (published 0)."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of the weights' average that is kept; 0 keeps the weights (published)."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """largest norm of the gradient; 0 does not clip (published)."""
    seed: Seed = 0
    """seed of initialisation, order and noise."""

    def trained(self) -> dict[str, Any]:
        """The keys on which the weights of every stage depend, as JSON values.

        Each stage has its own optimiser; how clones are drawn and calibrated comes after the training. What
        the first stage starts from enters its key by its bytes.
        """
        later = {"init", "stages", "sampler", "calibrate", "calibration_margin", "hit_share"}
        return self.model_dump(mode="json", exclude=later)

    @model_validator(mode="after")
    def _consistent(self) -> BridgeSection:
        if self.network == "dit" and self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads = {self.heads}, found {self.width}")
        if self.posterior_mean and self.space != "pixel":
            raise ValueError("posterior_mean: expected space 'pixel', found 'latent'")
        if self.posterior_mean and self.conditioning != "aligned":
            raise ValueError("posterior_mean: expected conditioning 'aligned', found 'published'")
        if self.refine and not (self.conditioning == "aligned" and self.posterior_mean):
            raise ValueError(
                "refine: expected false without conditioning 'aligned' and posterior_mean, found true"
            )
        if self.calibrate and not self.posterior_mean:
            raise ValueError("calibrate: expected false without posterior_mean, found true")
        if self.score == "crps" and self.conditioning != "aligned":
            raise ValueError("score: expected 'squared' with conditioning 'published', found 'crps'")
        if self.keep_block_means and self.space != "pixel":
            raise ValueError("keep_block_means: expected space 'pixel', found 'latent'")
        if self.start_share > 0 and self.process != "i2sb":
            raise ValueError(unlike("start_share", f"0 with process {self.process!r}", self.start_share))
        kinds = SAMPLER_KINDS[self.process]
        if self.sampler.kind not in kinds:
            possible = f"one of {', '.join(kinds)} with process {self.process!r}"
            raise ValueError(unlike("sampler.kind", possible, repr(self.sampler.kind)))
        wanted = evaluations_wanted(self.sampler.nfe, self.sampler.kind, self.process, self.steps)
        if wanted:
            raise ValueError(f"sampler.nfe: {wanted}, found {self.sampler.nfe}")
        return self
