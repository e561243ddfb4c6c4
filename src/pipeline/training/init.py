"""Given weights as the start of a training: all tensors that fit the network are used."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from pipeline.config.bridge import BridgeSection
from pipeline.models.files import model_config, read_state

logger = logging.getLogger(__name__)

#: Keys of a section that define the kind of state; scales are only valid for the same kind.
_STATE = ("space", "target", "height_unit", "posterior_mean")


@torch.no_grad()
def start_from(path: Path | str, network: nn.Module) -> None:
    """Copy each tensor whose name and shape agree; the log lists the others, which stay as initialised.

    Parameters
    ----------
    path : weights of a bridge; its config is beside them. network : of the system that is to be trained.

    Raises
    ------
    ValueError
        If the weights are not those of a complete bridge, or fit fewer than half of the network's tensors.
    """
    given = read_state(path, model_config(path, "bridge").get("fingerprint"))
    own = network.state_dict()
    taken = {name for name, value in own.items() if name in given and given[name].shape == value.shape}
    if 2 * len(taken) < len(own):
        raise ValueError(
            f"{path}: expected weights that fit at least half of the network's {len(own)} tensors by name "
            f"and shape, found {len(taken)} that do"
        )
    network.load_state_dict({name: given[name] if name in taken else value for name, value in own.items()})
    logger.info("%s: %d of the network's %d tensors taken", path, len(taken), len(own))
    for what, names in (("not there, left as initialised", own), ("of no use here", given)):
        if missed := sorted(set(names) - taken):
            logger.info("%s: %d tensors %s: %s", path, len(missed), what, ", ".join(missed))


def scales(path: Path | str, section: BridgeSection) -> tuple[float, float | None] | None:
    """Scales of states and of residuals with which weights were trained.

    None if the section has its own state scale, or another kind of state than the weights' section. The scale
    of residuals is None unless the weights are a diffusion's, since no other process has one.
    """
    config = model_config(path, "bridge")
    given = config.get("section", {})
    alike = all(given.get(key) == getattr(section, key) for key in _STATE)
    if section.state_scale is not None or not alike or not {"state_scale", "residual_scale"} <= config.keys():
        return None
    residual = float(config["residual_scale"]) if given.get("process") == "diffusion" else None
    return float(config["state_scale"]), residual
