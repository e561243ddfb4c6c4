"""Values that a stage would refuse after hours, found while the workflow is planned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.config.base import unlike
from pipeline.config.bridge import BridgeSection
from pipeline.config.stochastic import StochasticSection

if TYPE_CHECKING:
    from pipeline.config.root import Config

#: Folders of ``results/`` that all runs share.
_SHARED = ("store", "logs")


def impossible(config: Config, systems: Mapping[str, BridgeSection]) -> Iterator[str]:
    """What is wrong with a config's names, its networks and its split.

    Parameters
    ----------
    config : with valid sections. systems : sections of the trained systems.
    """
    yield from _names(config)
    yield from _networks(config, systems)
    yield from _terrain(config)


def _names(config: Config) -> Iterator[str]:
    if config.run in _SHARED:
        yield unlike("run", "another name than that of a folder that all runs share", repr(config.run))
    for name in config.evaluation.conditions:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name == "floor":
            wanted = "names of letters, digits and _ that begin with no digit, and not 'floor'"
            yield unlike("evaluation.conditions", wanted, repr(name))
    for key in ("variants", "bridges"):
        if "collect" in getattr(config.predictors, key):
            yield f"predictors.{key}.collect: expected another name than that of a rule, found it"


def _networks(config: Config, systems: Mapping[str, BridgeSection]) -> Iterator[str]:
    """Sizes of the networks must fit those of the patches, and each other."""
    patches, vae = config.patches, config.vae
    down = 2 ** (len(vae.multipliers) - 1)
    for name, section in systems.items():
        latent = section.space == "latent"
        side = patches.size_px // down if latent else patches.size_px
        fits = not (latent and patches.size_px % down)
        if section.network == "dit" and fits and side % section.patch_px:
            what = f"patches.size_px / {down} of the latents" if latent else "patches.size_px"
            yield unlike(f"{name}.patch_px", f"a divisor of {side}, {what}", section.patch_px)
        seen, given = (min(2, px // patches.factor) for px in (section.lr_halo_px, patches.halo_px))
        if latent and vae.target == "residual" and seen != given:
            wanted = f"{given * patches.factor}{' or more' * (given == 2)}"
            why = f"since the VAE learns residuals of a bicubic with a halo of {given} cells"
            yield unlike(f"{name}.lr_halo_px", f"{wanted}, {why}", section.lr_halo_px)
    # The critic's group norms have min(32, gan_base) groups of 2, 4 and 8 times gan_base channels.
    if systems and vae.gan_weight > 0 and 2 * vae.gan_base % min(32, vae.gan_base):
        yield unlike("vae.gan_base", "at most 32 or a multiple of 16", vae.gan_base)
    for name in config.predictors.scored:
        options = config.predictors.options(name)
        if isinstance(options, StochasticSection) and patches.size_px % 2 ** len(options.widths):
            most = (patches.size_px & -patches.size_px).bit_length() - 1
            wanted = f"at most {most}, since patches.size_px = {patches.size_px} is halved for each"
            yield unlike(f"{_path(config, name)}.widths", wanted, len(options.widths))


def _terrain(config: Config) -> Iterator[str]:
    """The split must be possible, and the halo must hold the blocks that rendered scenes need."""
    split, patches, light = config.split, config.patches, config.illumination
    both = sorted(set(split.test_sites) & set(split.validation_sites))
    if both:
        yield unlike("split.test_sites", "no pattern of split.validation_sites", both)
    if split.method == "index" and patches.stride_px < patches.size_px:
        wanted = f"patches.size_px = {patches.size_px} with split.method 'index'"
        why = "another stride numbers the patches anew"
        yield unlike("patches.stride_px", f"{wanted} ({why})", patches.stride_px)
    whole = light.halo_px // patches.factor * patches.factor
    if config.scenes is not None and light.far_m > 0 and whole < 2 * light.far_cell_px:
        wanted = (
            f"whole cells of patches.factor = {patches.factor} px for 2 x illumination.far_cell_px = "
            f"{2 * light.far_cell_px} with section scenes"
        )
        yield unlike("illumination.halo_px", wanted, f"{light.halo_px} ({whole} in whole cells)")


def _path(config: Config, name: str) -> str:
    return f"predictors.{'variants.' * (name in config.predictors.variants)}{name}"
