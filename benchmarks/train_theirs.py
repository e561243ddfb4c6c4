"""The published networks built from the parts of `diffusers`, with the weights of ours.

`AutoencoderKL` is the VAE without changes. The bridge net is `DiTTransformer2DModel`, `PatchEmbed` and
`BasicTransformerBlock` (the two vision transformers), `ResnetBlock2D` and `Downsample2D` (the set encoder)
and `TimestepEmbedding`. One part is changed: each block of their DiT has its own time embedding, while here,
as published, all of them share one vector. Equal weights give equal outputs (`agree`), which shows that both
do the same computation.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from diffusers import AutoencoderKL as TheirVae
from diffusers import DiTTransformer2DModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import PatchEmbed, TimestepEmbedding, Timesteps
from diffusers.models.resnet import Downsample2D, ResnetBlock2D
from torch import Tensor, nn

from pipeline.models.blocks import (
    AdaptiveBlock,
    ResidualBlock,
    SpatialAttention,
    TokenAttention,
    TransformerBlock,
)
from pipeline.models.published import SET_BASE, SET_MULTIPLIERS, PublishedNet
from pipeline.models.transformers import DiT, VisionTransformer
from pipeline.models.vae import AutoencoderKL, Downsample, Upsample

WIDTH, DEPTH, HEADS = 768, 6, 12


def copy(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy the parameters of our module to theirs; 1x1 convolutions become linear layers."""
    own = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(own.pop(name).reshape(parameter.shape))
    if own:
        raise ValueError(f"expected no parameters beside theirs, found {list(own)}")


# --- the VAE --------------------------------------------------------------------------------------------


def their_vae(ours: AutoencoderKL) -> TheirVae:
    """`AutoencoderKL` of `diffusers` with the block widths and the weights of ours."""
    theirs = TheirVae(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(64, 128, 256, 256),
        layers_per_block=2,
        latent_channels=4,
    )
    encoder, decoder = theirs.encoder, theirs.decoder
    middle = [encoder.mid_block.resnets[0], encoder.mid_block.attentions[0], encoder.mid_block.resnets[1]]
    parts: list[nn.Module] = [encoder.conv_in]
    for block in encoder.down_blocks:
        parts += [*block.resnets, *(down.conv for down in block.downsamplers or ())]
    _copy_all(ours.encoder, [*parts, *middle, encoder.conv_norm_out, encoder.conv_out])
    middle = [decoder.mid_block.resnets[0], decoder.mid_block.attentions[0], decoder.mid_block.resnets[1]]
    parts = [decoder.conv_in, *middle]
    for block in decoder.up_blocks:
        parts += [*block.resnets, *(up.conv for up in block.upsamplers or ())]
    _copy_all(ours.decoder, [*parts, decoder.conv_norm_out, decoder.conv_out])
    copy(ours.to_moments, theirs.quant_conv)
    copy(ours.from_latent, theirs.post_quant_conv)
    return theirs


def _copy_all(ours: Iterable[nn.Module], theirs: list[nn.Module]) -> None:
    with_weights = [m for m in ours if any(True for _ in m.parameters())]
    for a, b in zip(with_weights, theirs, strict=True):
        if isinstance(a, ResidualBlock):
            _copy_residual(a, b)
        elif isinstance(a, SpatialAttention):
            for own, other in (
                (a.norm, b.group_norm),
                (a.query, b.to_q),
                (a.key, b.to_k),
                (a.value, b.to_v),
                (a.out, b.to_out[0]),
            ):
                copy(own, other)
        else:
            copy(a.conv if isinstance(a, Downsample | Upsample) else a, b)


def _copy_residual(ours: ResidualBlock, theirs: ResnetBlock2D) -> None:
    for name in ("norm1", "conv1", "norm2", "conv2"):
        copy(getattr(ours, name), getattr(theirs, name))
    if theirs.conv_shortcut is not None:
        copy(ours.skip, theirs.conv_shortcut)


# --- the bridge net -------------------------------------------------------------------------------------


class _Given(nn.Module):
    """Replaces a DiT block's own time embedding by the vector that all blocks share."""

    def forward(self, vector: Tensor, labels: None, hidden_dtype: torch.dtype | None = None) -> Tensor:
        return vector


class TheirVit(nn.Module):
    """A vision transformer with one output token from `PatchEmbed` and `BasicTransformerBlock`."""

    def __init__(self, channels: int, size: int, patch: int) -> None:
        super().__init__()
        self.embed = PatchEmbed(size, size, patch, channels, WIDTH)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(
                WIDTH,
                HEADS,
                WIDTH // HEADS,
                activation_fn="gelu-approximate",
                attention_bias=True,
                norm_eps=1e-6,
            )
            for _ in range(DEPTH)
        )
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


class TheirBridge(nn.Module):
    """The published bridge net from parts of `diffusers`."""

    def __init__(self) -> None:
        super().__init__()
        self.core = DiTTransformer2DModel(
            num_attention_heads=HEADS,
            attention_head_dim=WIDTH // HEADS,
            in_channels=4,
            out_channels=4,
            num_layers=DEPTH,
            sample_size=12,
            patch_size=2,
            norm_eps=1e-6,
        )
        for block in self.core.transformer_blocks:
            block.norm1.emb = _Given()
        self.sinusoids = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(256, WIDTH)
        self.lr_transformer = TheirVit(1, 6, 2)
        last = SET_BASE
        layers: list[nn.Module] = [nn.Conv2d(1, last, 3, padding=1)]
        for level, multiplier in enumerate(SET_MULTIPLIERS):
            for _ in range(2):
                width = SET_BASE * multiplier
                layers.append(
                    ResnetBlock2D(
                        in_channels=last,
                        out_channels=width,
                        temb_channels=None,
                        groups=last // 2,
                        groups_out=width // 2,
                        eps=1e-6,
                    )
                )
                last = width
            if level < len(SET_MULTIPLIERS) - 1:
                layers.append(Downsample2D(last, use_conv=True, padding=0))
        self.set_encoder = nn.ModuleList(layers)
        self.to_set_map = nn.Conv2d(last, 4, 1)
        self.set_transformer = TheirVit(4, 12, 2)

    def forward(self, x_t: Tensor, t: Tensor, lr: Tensor, images: Tensor) -> Tensor:
        """State (B, 4, 12, 12), time (B,), a priori DEM (B, 6, 6) in km, images (B, N, 96, 96)."""
        h = images.flatten(0, 1)[:, None]
        for layer in self.set_encoder:
            h = layer(h, None) if isinstance(layer, ResnetBlock2D) else layer(h)
        features = self.to_set_map(h.unflatten(0, images.shape[:2]).mean(dim=1))
        vector = self.time(self.sinusoids(torch.round(999 * t)))
        vector = vector + self.lr_transformer(lr[:, None]) + self.set_transformer(features)
        return self.core(x_t, vector).sample


def their_bridge(ours: PublishedNet) -> TheirBridge:
    """The net from parts of `diffusers` with the weights of ours."""
    theirs = TheirBridge()
    assert isinstance(ours.core, DiT)
    _copy_dit(ours.core, theirs.core)
    copy(ours.time.layers[0], theirs.time.linear_1)
    copy(ours.time.layers[2], theirs.time.linear_2)
    _copy_vit(ours.lr_transformer, theirs.lr_transformer)
    _copy_vit(ours.set_transformer, theirs.set_transformer)
    flat = [b.conv if isinstance(b, Downsample2D) else b for b in theirs.set_encoder]
    _copy_all(ours.set_encoder.layers, flat)
    copy(ours.to_set_map, theirs.to_set_map)
    return theirs


def _copy_dit(ours: DiT, theirs: DiTTransformer2DModel) -> None:
    copy(ours.to_tokens, theirs.pos_embed.proj)
    theirs.pos_embed.pos_embed.copy_(ours.get_buffer("positions"))
    for a, b in zip(ours.blocks, theirs.transformer_blocks, strict=True):
        assert isinstance(a, AdaptiveBlock)
        copy(a.adaptive, b.norm1.linear)
        b.norm3.eps = a.norm.eps
        _copy_attention(a.attention, b.attn1)
        _copy_mlp(a.mlp, b.ff)
    copy(ours.adaptive, theirs.proj_out_1)
    # Their output has a token's pixels with channels last, ours with channels first.
    with torch.no_grad():
        weight, bias = (p.unflatten(0, (4, 4)).transpose(0, 1).flatten(0, 1) for p in ours.out.parameters())
        theirs.proj_out_2.weight.copy_(weight)
        theirs.proj_out_2.bias.copy_(bias)


def _copy_vit(ours: VisionTransformer, theirs: TheirVit) -> None:
    copy(ours.to_tokens, theirs.embed.proj)
    theirs.embed.pos_embed.copy_(ours.get_buffer("positions"))
    with torch.no_grad():
        theirs.token.copy_(ours.output_token)
    for a, b in zip(ours.blocks, theirs.blocks, strict=True):
        assert isinstance(a, TransformerBlock)
        copy(a.norm1, b.norm1)
        copy(a.norm2, b.norm3)
        _copy_attention(a.attention, b.attn1)
        _copy_mlp(a.mlp, b.ff)
    copy(ours.norm, theirs.norm)
    copy(ours.head, theirs.head)


def _copy_attention(ours: TokenAttention, theirs: nn.Module) -> None:
    layers = (theirs.to_q, theirs.to_k, theirs.to_v)
    with torch.no_grad():
        for layer, weight, bias in zip(layers, ours.qkv.weight.chunk(3), ours.qkv.bias.chunk(3), strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    copy(ours.out, theirs.to_out[0])


def _copy_mlp(ours: nn.Sequential, theirs: nn.Module) -> None:
    copy(ours[0], theirs.net[0].proj)
    copy(ours[2], theirs.net[2])


def agree(ours: Tensor, theirs: Tensor, what: str) -> float:
    """Largest difference over the largest value.

    Raises
    ------
    SystemExit
        Above 1e-3: the two networks are not the same, so that their times cannot be compared.
    """
    found = float((ours - theirs).abs().max() / theirs.abs().max())
    if not found < 1e-3:
        raise SystemExit(f"{what}: expected equal outputs for equal weights, found {found:.1e} between them")
    return found
