"""Weights in half precision for distribution: half the bytes; loading converts them to single precision.

A bridge refers to the VAE that it was trained with, and a calibration to the bridge that it was fitted to, by
fingerprints; halved files refer to halved files. The training key stays the same and identifies the original
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.models.files import read_state, save_model
from pipeline.storage.atomic import read_json, write_json
from pipeline.storage.calibration_law import FILE as CALIBRATION

#: Largest shipped file, bytes.
MOST_BYTES = 10_000_000
_LARGEST = 65504.0


def halve(full: Path | str, half: Path | str, changes: Mapping[str, Any] | None = None) -> str:
    """Write a copy of a model with weights in half precision; returns its new fingerprint.

    Parameters
    ----------
    full : safetensors file, with a ``config.json`` beside. half : file to write.
    changes : entries of the config that change with it.

    Raises
    ------
    ValueError
        If a file is no model's, a weight is beyond half precision, or the new file is larger than 10 MB.
    """
    full, half = Path(full), Path(half)
    config = read_json(full.with_name("config.json"), "model/1")
    state = read_state(full, config["fingerprint"])
    for name, value in state.items():
        if value.is_floating_point() and not bool((value.abs() <= _LARGEST).all()):
            raise ValueError(f"{full}: expected weights below 65504, found larger ones in {name}")
    halved = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
    size = sum(value.numel() * value.element_size() for value in halved.values())
    if size > MOST_BYTES:
        raise ValueError(f"{full}: expected at most {MOST_BYTES} bytes in half precision, found {size}")
    kept = {name: value for name, value in config.items() if name not in ("schema", "fingerprint")}
    save_model(half, halved, {**kept, **(changes or {})})
    return str(read_json(half.with_name("config.json"), "model/1")["fingerprint"])


def halve_system(model: str, vae: str | None, calibration: str | None, out: Path | str) -> None:
    """Halve a model, its VAE and its calibration: into ``<out>/``, the VAE into ``<out>_vae/``.

    Parameters
    ----------
    model : safetensors file. vae : that of its VAE, or None. calibration : file of its clones, or None.
    out : folder to write.

    Raises
    ------
    ValueError
        As `halve`.
    """
    out = Path(out)
    changes = {}
    if vae is not None:
        folder = out.with_name(f"{out.name}_vae")
        changes["vae_fingerprint"] = halve(vae, folder / "model.safetensors")
    mark = halve(model, out / "model.safetensors", changes)
    if calibration is not None:
        law = read_json(calibration)
        write_json(out / CALIBRATION, {**law, "model": mark})
