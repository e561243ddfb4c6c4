"""Given weights as the start of a training: what of them fits the network is taken."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from pipeline.config.bridge import BridgeSection
from pipeline.models.files import model_config, read_state

logger = logging.getLogger(__name__)

#: Keys of a section that say what a state is; scales of one kind of state say nothing about another.
_STATE = ("space", "target", "height_unit", "posterior_mean")


@torch.no_grad()
def start_from(path: Path | str, network: nn.Module) -> None:
    """Take each tensor whose name and shape agree; the log names the others, which stay as they are.

    Parameters
    ----------
    path : weights of a bridge; its config lies beside. network : of the system that is to be trained.

    Raises
    ------
    ValueError
        If the weights are no whole bridge, or fit fewer than half of the network's tensors.
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


def scales(path: Path | str, section: BridgeSection) -> tuple[float, float] | None:
    """Scales of states and of residuals that weights were trained with.

    None where the section has a state scale of its own, or another kind of state than the weights' section.
    """
    config = model_config(path, "bridge")
    given = config.get("section", {})
    alike = all(given.get(key) == getattr(section, key) for key in _STATE)
    if section.state_scale is not None or not alike or not {"state_scale", "residual_scale"} <= config.keys():
        return None
    return float(config["state_scale"]), float(config["residual_scale"])
