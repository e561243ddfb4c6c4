"""Choice of the torch device."""

from __future__ import annotations

import os

import torch


def pick_device(wanted: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; each process of a group takes its own GPU.

    Raises
    ------
    ValueError
        If ``cuda`` is wanted and there is no such device.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("runtime.device: expected a CUDA device for 'cuda', found none on this machine")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
