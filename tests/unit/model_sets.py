"""Small synthetic sample sets for the tests of the networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline.models.batch import Batch
from pipeline.models.published import PublishedNet
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean

SIZE, FACTOR = 32, 8


def smooth_terrain(batch: int, size: int, generator: torch.Generator, relief_px: float = 2.0) -> Tensor:
    """Random smooth heights (B, size, size) in pixels, most power at long wavelengths."""
    k = torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.fftfreq(size)[None] ** 2
    noise = torch.randn(batch, size, size, generator=generator)
    spectrum = torch.fft.fft2(noise) / (k + 4e-4) * torch.exp(-k * 60)
    heights = torch.fft.ifft2(spectrum).real
    return relief_px * heights / heights.std(dim=(1, 2), keepdim=True)


def lambert_set(
    batch: int = 2,
    images: int = 5,
    size: int = SIZE,
    factor: int = FACTOR,
    pixel_m: float = 40.0,
    halo_cells: int = 0,
    seed: int = 0,
) -> Batch:
    """Lambert images of smooth terrain without cast shadows, all valid, all present."""
    generator = torch.Generator().manual_seed(seed)
    halo = halo_cells * factor
    dem = smooth_terrain(batch, size + 2 * halo, generator) * pixel_m
    inner = slice(halo, halo + size)
    dem = dem - dem[:, inner, inner].mean(dim=(1, 2), keepdim=True)
    lr = block_mean(dem, factor)
    azimuth = 2 * math.pi * torch.rand(batch, images, generator=generator)
    elevation = torch.asin(0.1 + 0.85 * torch.rand(batch, images, generator=generator))
    sun = torch.stack(
        [elevation.cos() * azimuth.sin(), elevation.cos() * azimuth.cos(), elevation.sin()], dim=-1
    )
    down, right = torch.gradient(dem, spacing=pixel_m, dim=(1, 2))
    normal = torch.stack([-right, down, torch.ones_like(down)], dim=1)[:, :, inner, inner]
    normal = normal / normal.norm(dim=1, keepdim=True)
    radiance = 0.3 * torch.einsum("bnc,bchw->bnhw", sun, normal).clamp_min(0)
    return Batch(
        dem=dem[:, inner, inner],
        lr=lr,
        prior=prior_from_lr(lr, halo_cells, factor),
        images=radiance,
        valid=torch.ones_like(radiance, dtype=torch.bool),
        sun=sun,
        present=torch.ones(batch, images, dtype=torch.bool),
        pixel_m=torch.full((batch,), pixel_m),
        reference=torch.zeros(batch),
    )


def stir(module: nn.Module, seed: int = 0, amount: float = 0.05) -> nn.Module:
    """Add noise to all parameters, so that those that start at zero have influence."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator)
    return module


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def parameter_groups(net: PublishedNet) -> dict[str, int]:
    """Count parameters as the paper groups them: core, a priori transformer, image encoder."""

    def count(*modules: nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    return {
        "core": count(net.core, net.time),
        "lr": count(net.lr_transformer),
        "images": count(net.set_encoder, net.to_set_map, net.set_transformer),
    }
