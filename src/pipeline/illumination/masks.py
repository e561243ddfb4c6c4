"""Stage ``masks``: the fixed missing-data strips of validation and test image sets."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.atomic import read_json, write_json
from pipeline.illumination.missing import draw_strip

if TYPE_CHECKING:
    from pipeline.config.light import MasksSection

SCHEMA = "masks/1"
# Keeps this stage's random numbers apart from those of other stages with the same seed.
MASKS_PURPOSE = 0x4D41


def draw_masks(arcs_json: Path, masks: MasksSection, size_px: int, out: Path) -> None:
    """Draw one strip for every image of every set.

    Writes ``{"schema": "masks/1", "draws": {"<name>": {"<id>": {"strips": [[x0, y0, q, w], ...]}}}}`` with
    the names and patches of the image sets; pixels and degrees, see `pipeline.illumination.missing`. The
    strips of a set depend on the seed, its name, the patch's id and the number of images alone.

    Parameters
    ----------
    arcs_json : file of schema ``arcs/1``.
    masks : ranges (``masks.test``) and seed.
    size_px : side of the patch, pixels.
    out : JSON file to make.
    """
    sets = read_json(arcs_json, schema="arcs/1")["draws"]
    draws: dict[str, dict[str, Any]] = {name: {} for name in sets}
    for name, patches in sets.items():
        for patch_id, drawn in patches.items():
            rng = np.random.default_rng([masks.seed, MASKS_PURPOSE, zlib.crc32(name.encode()), int(patch_id)])
            strips = [draw_strip(rng, masks.test, size_px) for _ in drawn["images"]]
            draws[name][patch_id] = {"strips": strips}
    write_json(out, {"schema": SCHEMA, "draws": draws})
