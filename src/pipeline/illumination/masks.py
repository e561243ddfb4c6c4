"""Stage ``masks``: the fixed missing data of validation and test image sets."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.illumination.missing import draw_strip
from pipeline.illumination.place import Place, places_by_id
from pipeline.storage.atomic import read_json, write_json
from pipeline.storage.store import read_store

if TYPE_CHECKING:
    from pipeline.config.stages.light import MasksStage

SCHEMA = "masks/1"
# Keeps this stage's random numbers apart from those of other stages with the same seed.
MASKS_PURPOSE = 0x4D41


def draw_masks(arcs_json: Path, masks: MasksStage, out: Path, patch_store: Path | None = None) -> None:
    """Draw one mask for every image of every set.

    Writes ``{"schema": "masks/1", "draws": {"<name>": {"<id>": {"strips": [[x0, y0, q, w], ...]}}}}`` with
    the names and patches of the image sets; pixels and degrees, see `pipeline.illumination.missing`, also for
    the further numbers of kind ``nac``. The masks of a set depend on the seed, its name, the patch's id, the
    number of images and, for ``nac``, the patch's place.

    Parameters
    ----------
    arcs_json : file of schema ``arcs/1``.
    masks : ranges (``masks.test``), seed, and the side of a patch, pixels.
    out : JSON file to make.
    patch_store : store of schema ``patches`` of the same tile, for the patches' places; kind ``nac`` needs
        it.

    Raises
    ------
    ValueError
        If ``masks.test.kind`` is ``nac`` and there is no patch store, or it lacks a patch.
    """
    sets = read_json(arcs_json, schema="arcs/1")["draws"]
    places, pixel_m = _located(patch_store) if masks.test.kind == "nac" else ({}, None)
    draws: dict[str, dict[str, Any]] = {name: {} for name in sets}
    for name, patches in sets.items():
        for patch_id, drawn in patches.items():
            if masks.test.kind == "nac" and int(patch_id) not in places:
                raise ValueError(f"{patch_store}: expected patch {patch_id} of {arcs_json}, found none")
            rng = np.random.default_rng([masks.seed, MASKS_PURPOSE, zlib.crc32(name.encode()), int(patch_id)])
            place = places.get(int(patch_id))
            strips = [draw_strip(rng, masks.test, masks.size_px, place, pixel_m) for _ in drawn["images"]]
            draws[name][patch_id] = {"strips": strips}
    write_json(out, {"schema": SCHEMA, "draws": draws})


def _located(patch_store: Path | None) -> tuple[dict[int, Place], float | None]:
    """Place of every patch of a tile, by its id, and the pixel size, m."""
    if patch_store is None:
        raise ValueError("masks.test.kind: 'nac' needs the patch store with the patches' places, found none")
    patches = read_store(patch_store, schema="patches")
    return places_by_id(patches), float(patches.attrs["pixel_m"])
