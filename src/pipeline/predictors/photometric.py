"""Photometric stereo in closed form (Woodham 1980): the aligned network's first guess, without a network."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.predictors import PhotometricSection
from pipeline.models.apriori import crop_halo, match_block_means
from pipeline.models.photometric import (
    integrate,
    map_slopes,
    photometric_sums,
    set_radiance,
    stereo_slopes,
)
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class Photometric(Predictor):
    """Slopes from the lit pixels by Lambert's law, integrated and added to the a priori DEM.

    Block means are those of the a priori DEM; without light the result is a bicubic with these means.
    """

    def __init__(self, section: PhotometricSection, factor: int, halo_cells: int) -> None:
        self.section, self.factor, self.halo_cells = section, factor, halo_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        pixel = batch.pixel_m[:, None, None]
        prior = batch.prior / pixel
        slopes = map_slopes(prior)
        sums = photometric_sums(batch, *set_radiance(batch.images, batch.valid, batch.present))
        found, _, _ = stereo_slopes(sums, slopes, self.section.damping)
        dem = prior + integrate(found - slopes, self.section.length_cells * self.factor)[:, 0]
        lr = crop_halo(batch.lr, prior.shape[-1] // self.factor) / pixel
        return (match_block_means(dem, lr, self.factor) * pixel)[:, None]


def make(setup: Setup) -> Photometric:
    """Photometric stereo with the options of `PhotometricSection`."""
    section = PhotometricSection.model_validate(setup.options)
    return Photometric(section, int(setup.grid["factor"]), setup.window_cells)
