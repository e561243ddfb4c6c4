"""Networks from config sections.

Every combination of ``space``, ``conditioning`` and ``network`` exists:

============ ============= ======= ====================================================================
conditioning network       space   network that is built
============ ============= ======= ====================================================================
published    dit           both    the published network; in pixel space one channel, larger `patch_px`
published    unet          both    the same vector, steering a U-Net of `base` channels
aligned      unet          both    trunk of `base` channels, U-Net head; in latent space the trunk's
                                   decoder stops at the latents' resolution
aligned      dit           both    the same trunk; its features beside the state as the DiT's input
============ ============= ======= ====================================================================
"""

from __future__ import annotations

from torch import nn

from pipeline.config.bridge import BridgeSection
from pipeline.config.vae import VaeSection
from pipeline.models.aligned import AlignedNet, Trunk, noise_scales
from pipeline.models.discriminator import PatchDiscriminator
from pipeline.models.published import PublishedNet, VectorUNet
from pipeline.models.transformers import DiT
from pipeline.models.vae import AutoencoderKL

#: Width of the time embedding of a U-Net head.
HEAD_EMBEDDING = 128


def build_vae(section: VaeSection) -> AutoencoderKL:
    """Build the autoencoder of a ``vae`` section."""
    return AutoencoderKL(section.base, section.multipliers, section.blocks, section.latent_channels)


def build_discriminator(section: VaeSection) -> PatchDiscriminator:
    """Build the discriminator of a ``vae`` section.

    With group norms instead of the usual batch norms, and the same number of parameters: the result must not
    depend on the distribution of a batch over processes.
    """
    return PatchDiscriminator(section.gan_base, section.gan_layers, norm="group")


def build_network(
    section: BridgeSection, size_px: int, factor: int, latent_shape: tuple[int, int, int] | None = None
) -> PublishedNet | AlignedNet:
    """Build the network of a bridge section.

    Parameters
    ----------
    section : keys ``space``, ``conditioning``, ``network``, ``lr_halo_px``, ``height_unit``, ``width``,
        ``depth``, ``heads``, ``patch_px``, ``base``, ``target``, ``posterior_mean``, ``keep_block_means``,
        ``set_encoder``, ``missing_pixel``.
    size_px : side of a patch, pixels.
    factor : pixels per cell of the a priori DEM.
    latent_shape : (C, H, W) of the VAE's latents; None in pixel space.

    Returns
    -------
    A module with ``condition(inputs) -> cond`` and ``forward(x_t, t, cond)``.

    Raises
    ------
    ValueError
        If sizes do not fit each other; the message names the keys.
    """
    if size_px % factor:
        raise ValueError(f"patches.factor: expected a divisor of size_px = {size_px}, found {factor}")
    if section.lr_halo_px % factor:
        raise ValueError(
            f"lr_halo_px: expected a multiple of the factor {factor}, found {section.lr_halo_px}"
        )
    if (section.space == "latent") != (latent_shape is not None):
        found = "none" if latent_shape is None else "one"
        raise ValueError(
            f"space: expected a VAE with 'latent' and none with 'pixel', found {found} with {section.space!r}"
        )
    channels, size, width = latent_shape or (1, size_px, size_px)
    if size != width or size_px % size:
        raise ValueError(
            f"vae.multipliers: expected square latents that divide size_px = {size_px}, "
            f"found {size} x {width}"
        )
    if section.network == "dit" and size % section.patch_px:
        raise ValueError(
            f"patch_px: expected a divisor of the state's {size} cells with network 'dit', "
            f"found {section.patch_px}"
        )
    if section.width % section.heads:
        raise ValueError(f"width: expected a multiple of heads = {section.heads}, found {section.width}")
    lr_cells = (size_px + 2 * section.lr_halo_px) // factor
    if section.conditioning == "published":
        core = _core(section, channels, channels, size, section.width)
        sizes = section.width, section.depth, section.heads, lr_cells, size_px
        return PublishedNet(core, *sizes, section.height_unit, section.set_encoder, section.missing_pixel)
    spread = section.posterior_mean and section.score == "crps"
    trunk = Trunk(
        size_px, factor, section.base, size_px // size, section.keep_block_means, spread, section.refine
    )
    embedding = section.width if section.network == "dit" else HEAD_EMBEDDING
    noises = noise_scales(size) if section.score == "crps" else ()
    channels_in = channels + trunk.features + len(noises)
    head = _core(section, channels_in, channels, size, embedding)
    return AlignedNet(
        trunk, head, embedding, section.height_unit, section.target, section.posterior_mean, noises
    )


def _core(
    section: BridgeSection, channels_in: int, channels_out: int, size: int, embedding: int
) -> nn.Module:
    if section.network == "dit":
        sizes = section.patch_px, section.width, section.depth, section.heads
        return DiT(channels_in, channels_out, size, *sizes)
    return VectorUNet(channels_in, channels_out, size, section.base, embedding)
