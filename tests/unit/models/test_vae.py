"""The KL autoencoder and the discriminator."""

from __future__ import annotations

import math

import pytest
import torch
from model_sets import count

from pipeline.config.vae import VaeSection
from pipeline.models.discriminator import PatchDiscriminator
from pipeline.models.factory import build_discriminator, build_vae
from pipeline.models.vae import Posterior

TINY = VaeSection(base=8, multipliers=[1, 2, 2], blocks=1, latent_channels=3, gan_base=4, gan_layers=2)


def test_published_size():
    with torch.device("meta"):
        vae = build_vae(VaeSection())
    assert count(vae) == 20_943_269
    assert vae.latent_shape(96) == (4, 12, 12)


def test_same_count_as_diffusers():
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        theirs = diffusers.AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(64, 128, 256, 256),
            layers_per_block=2,
            latent_channels=4,
        )
    assert count(theirs) == 20_943_269


@pytest.mark.parametrize(("norm", "expected"), [("batch", 6_958_913), ("group", 6_958_913)])
def test_discriminator_is_the_published_696_million(norm, expected):
    with torch.device("meta"):
        assert count(PatchDiscriminator(norm=norm)) == expected


def test_discriminator_of_the_config_judges_samples_one_by_one():
    torch.manual_seed(0)
    critic = build_discriminator(TINY)
    x = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(critic(x)[:1], critic(x[:1]))


def test_shapes_follow_the_patch():
    vae = build_vae(TINY)
    for size in (32, 48):
        posterior = vae.encode(torch.randn(2, 1, size, size))
        assert posterior.mean.shape == (2, *vae.latent_shape(size)) == (2, 3, size // 4, size // 4)
        assert vae.decode(posterior.mode()).shape == (2, 1, size, size)


def test_odd_patch_is_refused():
    with pytest.raises(ValueError, match=r"multiple of 4 .* found 30"):
        build_vae(TINY).encode(torch.zeros(1, 1, 30, 30))


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    vae = build_vae(TINY)
    posterior = vae.encode(torch.randn(2, 1, 32, 32))
    y = vae.decode(posterior.sample(torch.randn(posterior.mean.shape)))
    (y.square().mean() + posterior.kl().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


def test_posterior_kl_against_torch_distributions():
    mean, logvar = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    normal = torch.distributions.Normal(mean, torch.exp(0.5 * logvar))
    reference = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(Posterior(mean, logvar).kl(), reference.sum(dim=(1, 2, 3)))


def test_posterior_samples_have_its_moments_and_repeat():
    posterior = Posterior(torch.full((1, 1, 200, 200), 3.0), torch.full((1, 1, 200, 200), 2 * math.log(0.5)))
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(1))
    draw = posterior.sample(noise)
    assert draw.mean().item() == pytest.approx(3.0, abs=0.01)
    assert draw.std().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(draw, posterior.sample(noise))
    assert torch.equal(posterior.mode(), posterior.mean)


def test_last_layer_is_the_decoders_output():
    vae = build_vae(TINY)
    before = vae.decode(torch.ones(1, 3, 8, 8))
    with torch.no_grad():
        vae.last_layer.zero_()
    after = vae.decode(torch.ones(1, 3, 8, 8))
    assert before.std() > 1e-3
    assert after.std() < 1e-6
