"""Losses of the autoencoder and of the posterior-mean estimate.

The VAE's loss (Rombach et al. 2022, appendix G; Esser et al. 2021, equations 5-7): sum over pixels of
|x - x'|, plus LPIPS where weights are given, plus the KL term, plus a hinge GAN weighted adaptively.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

#: Means and standard deviations of ImageNet, for images in [-1, 1]: 2 m - 1 and 2 s.
IMAGENET_MEAN = (-0.030, -0.088, -0.188)
IMAGENET_STD = (0.458, 0.448, 0.450)
#: Convolutions of VGG16 by their index in the layer list, grouped by the five stages that LPIPS compares.
VGG_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def absolute_sum(x: Tensor, y: Tensor) -> Tensor:
    """Sum of |x - y| over the pixels of a sample, mean over the batch: a scalar, from (B, 1, P, P) maps."""
    return (x - y).abs().flatten(1).sum(dim=1).mean()


def gaussian_score(error: Tensor, spread: Tensor) -> Tensor:
    """CRPS of a Gaussian of standard deviation `spread` around an estimate with the error `error`.

    s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) with z = error / s (Gneiting & Raftery 2007, equation 21).
    Both have the same shape and unit, and so has the result.
    """
    z = error / spread
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return spread * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


def draws_score(draws: Tensor, truth: Tensor) -> Tensor:
    """Fair CRPS of K draws, of values and of differences between neighbours along both axes.

    mean |x_i - y| - mean over pairs |x_i - x_j| / 2 at each pixel (Gneiting & Raftery 2007, equation 20, with
    the unbiased estimate of Ferro 2014): its mean is smallest when the draws have the distribution of y. The
    score of values treats each pixel separately; that of differences makes neighbours vary together.

    Parameters
    ----------
    draws : (B, K, C, H, W), K >= 2. truth : (B, C, H, W).

    Returns
    -------
    Tensor (B,), mean over channels and pixels, the three scores added.
    """
    count = draws.shape[1]

    def score(x: Tensor, y: Tensor) -> Tensor:
        off = (x - y[:, None]).abs().flatten(1).mean(dim=1)
        # Every pair once: each draw against the k-th next one, cyclically.
        apart = [(x - x.roll(k, dims=1)).abs().flatten(1).mean(dim=1) for k in range(1, count // 2 + 1)]
        if count % 2 == 0:
            apart[-1] = 0.5 * apart[-1]
        return off - sum(apart) / (count - 1)

    total = score(draws, truth)
    for axis in (-1, -2):
        total = total + score(draws.diff(dim=axis), truth.diff(dim=axis))
    return total


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator: the average of mean max(0, 1 - real) and mean max(0, 1 + fake).

    Parameters
    ----------
    real, fake : logits, any shape.

    Returns
    -------
    Scalar tensor.
    """
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_hinge(fake: Tensor) -> Tensor:
    """Adversarial loss of the generator: minus the mean logit."""
    return -fake.mean()


def adaptive_weight(
    reconstruction: Tensor,
    adversarial: Tensor,
    last_layer: Tensor,
    average: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Tensor:
    """Weight that makes both losses pull equally at the decoder's last layer.

    ||grad reconstruction|| / (||grad adversarial|| + 1e-4), at most 1e4 (Esser et al. 2021, equation 7).

    Parameters
    ----------
    reconstruction, adversarial : scalars with a graph.
    last_layer : the parameter at which gradients are compared.
    average : turns the gradient of a process's share of the batch into that of the whole batch.

    Returns
    -------
    Tensor : scalar without gradient.
    """
    pull = average(torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0]).norm()
    push = average(torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0]).norm()
    return (pull / (push + 1e-4)).clamp(0.0, 1e4).detach()


def slope_loss(x: Tensor, y: Tensor, pixel: Tensor | float = 1.0) -> Tensor:
    """Mean absolute difference of the slopes of two height maps, metres per metre.

    Slopes are differences of neighbouring pixels, which detect a checkerboard that central differences miss.

    Parameters
    ----------
    x, y : (B, ..., H, W) heights.
    pixel : pixel size in the unit of the heights, a number or (B,).
    """
    error = x - y
    if isinstance(pixel, Tensor):
        pixel = pixel.reshape(-1, *(1,) * (error.ndim - 1))
    along_x = ((error[..., :, 1:] - error[..., :, :-1]) / pixel).abs().mean()
    along_y = ((error[..., 1:, :] - error[..., :-1, :]) / pixel).abs().mean()
    return 0.5 * (along_x + along_y)


class Lpips(nn.Module):
    """Learned perceptual distance (Zhang et al. 2018, equation 1) on VGG16 from a local weights file.

    The safetensors file holds VGG16's convolutions as ``features.{i}.weight`` and ``features.{i}.bias``
    for i = 0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28 (torchvision's numbering) and the linear heads
    as ``lin{k}.weight`` (1, C, 1, 1), k = 0..4. Channel counts are read from the tensors. The weights
    are constants: they take no gradient and stay out of the state dict.

    Raises
    ------
    ValueError
        If the file is absent, is no safetensors file, or lacks a tensor of the right shape.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"vae.lpips_weights: expected a safetensors file, found nothing at {path}")
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"vae.lpips_weights: expected a safetensors file at {path}, found another kind ({error})"
            ) from error
        channels = 3
        for k, stage in enumerate(VGG_STAGES):
            for i in stage:
                weight = self._take(tensors, path, f"features.{i}.weight", (None, channels, 3, 3))
                channels = weight.shape[0]
                self._keep(f"weight{i}", weight)
                self._keep(f"bias{i}", self._take(tensors, path, f"features.{i}.bias", (channels,)))
            self._keep(f"lin{k}", self._take(tensors, path, f"lin{k}.weight", (1, channels, 1, 1)))
        self._keep("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self._keep("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.float(), persistent=False)

    @staticmethod
    def _take(tensors: dict[str, Tensor], path: Path, name: str, shape: tuple[int | None, ...]) -> Tensor:
        if name not in tensors:
            raise ValueError(f"vae.lpips_weights: expected a tensor {name} in {path}, found none")
        found = tuple(tensors[name].shape)
        if len(found) != len(shape) or any(n is not None and n != m for n, m in zip(shape, found)):
            wanted = tuple("any" if n is None else n for n in shape)
            raise ValueError(f"vae.lpips_weights: expected {name} of shape {wanted} in {path}, found {found}")
        return tensors[name]

    def _features(self, x: Tensor) -> list[Tensor]:
        x = (x.expand(-1, 3, -1, -1) - self.get_buffer("mean")) / self.get_buffer("std")
        features = []
        for k, stage in enumerate(VGG_STAGES):
            if k:
                x = F.max_pool2d(x, 2)
            for i in stage:
                x = F.relu(F.conv2d(x, self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}"), padding=1))
            features.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return features

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance (B,) of single-channel maps (B, 1, H, W), scaled to about [-1, 1] by the caller."""
        total = x.new_zeros(len(x))
        for k, (a, b) in enumerate(zip(self._features(x), self._features(y))):
            total = total + F.conv2d((a - b) ** 2, self.get_buffer(f"lin{k}")).mean(dim=(1, 2, 3))
        return total
