"""The process and the sampler's arguments that the config's ``bridge`` section describes."""

from __future__ import annotations

from typing import Any

from pipeline.bridges.base import Process
from pipeline.bridges.diffusion import Diffusion
from pipeline.bridges.i2sb import I2SB
from pipeline.bridges.interpolant import StochasticInterpolant
from pipeline.config.bridge import BridgeSection, SamplerSection


def make_process(section: BridgeSection, *, residual_scale: float = 1.0) -> Process:
    """Build the process that a section names.

    Parameters
    ----------
    section : the bridge's config; ``process`` selects the class. I2SB uses ``beta_max``, ``steps`` and
        ``start_share``, the interpolant ``noise``, the diffusion ``weighting``.
    residual_scale : std of ``x0 - x1`` over the training set; used by the diffusion only.

    Raises
    ------
    ValueError
        When the process cannot use the section's sampler.
    """
    process: Process
    if section.process == "i2sb":
        process = I2SB(section.beta_max, section.steps, section.start_share)
    elif section.process == "interpolant":
        process = StochasticInterpolant(section.noise)
    else:
        process = Diffusion(residual_scale, section.weighting)
    process.check_sampler(**sampler_kwargs(section.sampler))
    return process


def sampler_kwargs(section: SamplerSection) -> dict[str, Any]:
    """Keyword arguments of :meth:`Process.sample` that the config decides: nfe, kind, eta, grid."""
    return {"nfe": section.nfe, "kind": section.kind, "eta": section.eta, "grid": section.grid}
