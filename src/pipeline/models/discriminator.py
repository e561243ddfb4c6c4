"""PatchGAN discriminator (Isola et al. 2017) for the adversarial part of the VAE's loss."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Classify overlapping patches of a single-channel map as real or fake.

    4x4 convolutions: one of stride 2 without norm, ``layers - 1`` of stride 2 and one of stride 1 with
    norm, each doubling the channels up to 8 x base, then one to a single logit. With base 64 and four
    layers it has 6,958,913 parameters, the 6.96 M of the published system.

    Parameters
    ----------
    base : channels after the first convolution.
    layers : convolutions with a norm.
    norm : ``batch`` (published) or ``group``, with the same number of parameters; with ``group`` the result
        does not depend on the distribution of a batch over processes.
    """

    def __init__(self, base: int = 64, layers: int = 4, norm: Literal["batch", "group"] = "batch") -> None:
        super().__init__()
        stack: list[nn.Module] = [nn.Conv2d(1, base, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        last = base
        for layer in range(1, layers + 1):
            width = base * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            stack.append(nn.Conv2d(last, width, 4, stride=stride, padding=1, bias=False))
            stack.append(nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(min(32, base), width))
            stack.append(nn.LeakyReLU(0.2))
            last = width
        stack.append(nn.Conv2d(last, 1, 4, stride=1, padding=1))
        self.stack = nn.Sequential(*stack)
        # Isola et al. 2017, section 6.2: convolutions from N(0, 0.02), norms from N(1, 0.02).
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, H, W) to logits (B, 1, h, w), positive for real."""
        return self.stack(x)
