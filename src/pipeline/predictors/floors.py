"""Reconstruction errors of the VAE, a lower bound (floor) for every latent bridge."""

from __future__ import annotations

from torch import Tensor

from pipeline.models.files import load_vae
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class Decoded(Predictor):
    """A DEM of the batch, ``dem`` (the truth) or ``prior``, encoded to the latents' mean and decoded."""

    def __init__(self, setup: Setup, source: str) -> None:
        self.codec, self.source = load_vae(setup.files["vae"][0], setup.device), source
        self.halo_cells = setup.window_cells if self.codec.section.target == "residual" else 0

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        codec = self.codec
        latents = codec.vae.encode(codec.maps(getattr(batch, self.source), batch)).mode()
        return codec.decode(latents, batch)[:, None]


def truth(setup: Setup) -> Decoded:
    """decode(encode(truth))."""
    return Decoded(setup, "dem")


def bicubic(setup: Setup) -> Decoded:
    """decode(encode(bicubic))."""
    return Decoded(setup, "prior")
