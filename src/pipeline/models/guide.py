"""Information of a set of images on the pixels of the a priori DEM: closed forms, and a learned encoder.

Any number of images guide a network instead of one: by their photometric sums, the slopes that these imply,
the reliability of these, and the mean of learned features. Everything is dimensionless: heights in pixels,
radiance over the set's mean lit radiance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.apriori import crop_halo, match_block_means
from pipeline.models.batch import Batch
from pipeline.models.blocks import zero
from pipeline.models.inputs import mean_over_set
from pipeline.models.photometric import (
    PhotometricSums,
    exposure_ratios,
    integrate,
    map_slopes,
    normals,
    photometric_sums,
    set_radiance,
    stereo_slopes,
)

#: Weights of the a priori normal in the closed-form slopes: weak for many Suns, strong for few.
DAMPINGS = (1e-3, 3e-2)
#: Number of images encoded at a time by the learned encoder; bounds the memory.
SET_CHUNK = 512
#: Channels of `Look`: of the a priori DEM, and of the images.
TERRAIN_CHANNELS = 1 + 2 + 1
IMAGE_CHANNELS = 15 + 5 * len(DAMPINGS) + 4


@dataclass(frozen=True)
class Look:
    """Fields computed from a sample set.

    Attributes
    ----------
    prior : (B, P, P) a priori DEM, pixels. lr : (B, L, L) its cells without halo, pixels.
    deficit : (B, 1, P, P) correction of the a priori DEM to its cells' means, pixels.
    heights : (B, 3, P, P) a priori heights over the factor, and slopes.
    photometry : (B, 25, P, P) the sums, and the slopes, albedo, misfit and heights that they imply.
    trust : (B, 4, P, P), see `_trust`.
    sums : see `photometric_sums`. normal : (B, 3, P, P) of the a priori DEM.
    radiance, threshold : (B,), see `set_radiance`.
    """

    prior: Tensor
    lr: Tensor
    deficit: Tensor
    heights: Tensor
    photometry: Tensor
    trust: Tensor
    sums: PhotometricSums
    normal: Tensor
    radiance: Tensor
    threshold: Tensor


class ImageEncoder(nn.Module):
    """Images with their Suns -> the mean of their features, at half the resolution.

    An image, its valid mask and the shading predicted from the a priori DEM are the input of a strided
    convolution, whose channels are scaled and shifted by functions of the Sun vector; pixels without data
    have no weight in the mean.

    Parameters
    ----------
    channels : features.
    chunk : images encoded at a time.
    """

    def __init__(self, channels: int, chunk: int = SET_CHUNK) -> None:
        super().__init__()
        self.chunk = chunk
        self.look = nn.Conv2d(3, channels, 4, stride=2, padding=1)
        self.steer = nn.Linear(3, 2 * channels)

    def forward(self, inputs: Batch, radiance: Tensor, normal: Tensor) -> Tensor:
        """Map a set, its mean radiance (B,) and a priori normals (B, 3, P, P) to (B, C, P/2, P/2)."""

        def encode(patch: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
            valid = inputs.valid[patch, image].float()
            light = inputs.images[patch, image] / radiance[patch, None, None] * valid
            sun = inputs.sun[patch, image]
            shading = torch.einsum("nc,nchw->nhw", sun, normal[patch]).clamp_min(0)
            x = torch.stack([light, valid, shading], dim=1).contiguous(memory_format=torch.channels_last)
            scale, shift = self.steer(sun)[:, :, None, None].chunk(2, dim=1)
            h = F.silu(torch.addcmul(shift, self.look(x), 1 + scale))
            return h, F.avg_pool2d(valid[:, None], 2)

        return mean_over_set(encode, inputs.present, self.chunk)


class ImageGuide(nn.Module):
    """Computes the fields of a sample set.

    Parameters
    ----------
    factor : pixels per cell of the a priori DEM.
    channels : of the learned encoder; 0 for none.
    """

    def __init__(self, factor: int, channels: int) -> None:
        super().__init__()
        self.factor = factor
        self.gain = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), zero(nn.Linear(16, 2)))
        self.encoder = ImageEncoder(channels) if channels else None

    def look(self, inputs: Batch, lit_share: float | None = None) -> Look:
        """Compute the fields of a sample set.

        `lit_share` is the threshold of lit pixels over the set's mean lit radiance; None to derive it from
        the images' noise.
        """
        prior, lr, slopes, deficit = _terrain(inputs, self.factor)
        radiance, threshold = set_radiance(inputs.images, inputs.valid, inputs.present)
        if lit_share is not None:
            threshold = torch.full_like(threshold, lit_share)
        normal = normals(slopes)
        gain, scatter = self._gains(inputs, radiance, threshold, normal)
        sums = photometric_sums(inputs, radiance, threshold, gain)
        channels = [sums.stack()]
        for damping in DAMPINGS:
            estimate, albedo, misfit = stereo_slopes(sums, slopes, damping)
            channels += [estimate - slopes, albedo, misfit]
            channels.append(integrate(estimate - slopes, self.factor))
        return Look(
            prior=prior, lr=lr, deficit=deficit,
            heights=torch.cat([prior[:, None] / self.factor, slopes], dim=1),
            photometry=torch.cat(channels, dim=1),
            trust=_trust(inputs, sums, threshold, scatter),
            sums=sums, normal=normal, radiance=radiance, threshold=threshold,
        )  # fmt: skip

    def encode(self, inputs: Batch, look: Look) -> Tensor:
        """The learned features of the images: (B, C, P/2, P/2)."""
        assert self.encoder is not None
        return self.encoder(inputs, look.radiance, look.normal)

    def _gains(
        self, inputs: Batch, radiance: Tensor, threshold: Tensor, normal: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Factor (B, N) on each image: a function of its Sun's elevation, and a partial exposure correction.

        The size of the correction depends on how well the a priori normals determine the exposure (lit share,
        elevation) and on the scatter of exposures within the set, which is the second result, (B,).
        """
        ratio, share = exposure_ratios(inputs, radiance, threshold, normal)
        weight = share.square()
        variance = (weight * ratio.square()).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6)
        scatter = variance.sqrt()
        differ = (scatter[:, None] * 10.0).expand_as(ratio)
        terms = self.gain(torch.stack([inputs.sun[..., 2].float(), share, differ], dim=-1)).float()
        gain = torch.exp(terms[..., 0].clamp(-3.0, 3.0) - torch.sigmoid(terms[..., 1] - 1.0) * ratio)
        return gain, scatter


class GuideMaps(ImageGuide):
    """Fields of the terrain and guide maps z of the images, both at full resolution.

    Parameters
    ----------
    factor : pixels per cell of the a priori DEM. channels : of the guide maps.
    """

    def __init__(self, factor: int, channels: int) -> None:
        super().__init__(factor, channels)
        self.mix = nn.Conv2d(IMAGE_CHANNELS + channels, channels, 3, padding=1)

    def forward(self, inputs: Batch) -> tuple[Tensor, Tensor]:
        """Map a sample set to (B, TERRAIN_CHANNELS, P, P) and (B, channels, P, P)."""
        look = self.look(inputs)
        side = F.interpolate(self.encode(inputs, look), scale_factor=2.0, mode="nearest")
        z = F.silu(self.mix(torch.cat([look.photometry, look.trust, side], dim=1)))
        return torch.cat([look.heights, look.deficit], dim=1), z


def terrain_fields(inputs: Batch, factor: int) -> Tensor:
    """Fields of the a priori DEM (B, TERRAIN_CHANNELS, P, P): heights over the factor, slopes, deficit."""
    prior, _, slopes, deficit = _terrain(inputs, factor)
    return torch.cat([prior[:, None] / factor, slopes, deficit], dim=1)


def _terrain(inputs: Batch, factor: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A priori DEM, its cells without halo, its slopes, and its correction to the cells' means; pixels."""
    pixel = inputs.pixel_m[:, None, None]
    prior, size = inputs.prior / pixel, inputs.prior.shape[-1]
    lr = crop_halo(inputs.lr, size // factor) / pixel
    # The block means of the residual are known: they are the errors of the bicubic upsampling.
    deficit = (match_block_means(prior, lr, factor) - prior)[:, None]
    return prior, lr, map_slopes(prior), deficit


def _trust(inputs: Batch, sums: PhotometricSums, threshold: Tensor, scatter: Tensor) -> Tensor:
    """Reliability of means over the set: (B, 4, P, P), of order 1.

    Logarithms of the numbers of images that light a pixel and that cover it, the images' noise, and the
    scatter of their exposures; the means themselves contain none of these.
    """
    covering = sums.valid * inputs.present.sum(dim=1)[:, None, None, None]
    counts = [torch.log1p(covering * sums.lit) / 3.0, torch.log1p(covering) / 3.0]
    whole = [(10.0 * level)[:, None, None, None].expand_as(covering) for level in (threshold, scatter)]
    return torch.cat(counts + whole, dim=1)
