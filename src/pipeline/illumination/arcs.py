"""Stage ``arcs``: the fixed image sets of validation and test patches."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.arcs import ArcsSection
from pipeline.config.stages.light import ArcsStage
from pipeline.illumination.directions import NoUsableDirectionError, draw_arc_set, exact_directions
from pipeline.illumination.ephemeris import own_suns, read_track
from pipeline.illumination.place import places_by_id
from pipeline.storage.atomic import read_json, write_json
from pipeline.storage.store import read_store

logger = logging.getLogger(__name__)

SCHEMA = "arcs/1"
# Keeps this stage's random numbers apart from those of other stages with the same seed.
ARCS_PURPOSE = 0x4152


def directions_that_light(fixed: Any, row: int) -> NDArray[np.bool_]:
    """Fixed directions that light at least one pixel of a patch.

    Parameters
    ----------
    fixed : group ``fixed`` of a visibility store or shard, with ``lit`` or ``share``.
    row : the patch's row.

    Returns
    -------
    ``(direction,)`` bool.
    """
    name = "lit" if "lit" in fixed else "share"
    return (fixed[name][row] != 0).any(axis=(1, 2))


def select_arcs(
    selected_json: Path,
    split_json: Path,
    visibility_store: Path,
    arcs: ArcsSection | ArcsStage,
    out: Path,
    patch_store: Sequence[Path | str] = (),
    track: Sequence[Path | str] = (),
) -> None:
    """Draw image sets, and assumed places, for every kept validation and test patch of a tile.

    Writes ``{"schema": "arcs/1", "draws": {"<name>": {"<id>": {"lon", "lat", "images"}}}}`` with one entry
    per named draw of `arcs.test`: degrees (the longitude from the map's central meridian), and indices into
    the fixed directions, none of which leaves the whole patch dark. A draw depends only on the seed, its name
    and the patch (its id, and its own place unless one is assumed), so adding a name or a patch does not
    change the others.

    Parameters
    ----------
    selected_json : file of schema ``selected/1``.
    split_json : file of schema ``split/1``.
    visibility_store : store of schema ``visibility`` of the same tile.
    arcs : tolerance, named ranges (``arcs.test``) and seed.
    out : JSON file to make.
    patch_store : the tile's store of schema ``patches``, in a list; where a draw's place is not assumed.
    track : file of schema ``suntrack/1``, in a list; where a draw's place is ``ephemeris``.

    Raises
    ------
    ValueError
        If the visibility store lacks a patch, or a draw needs a patch's place or a track that is not given.
    NoUsableDirectionError
        If no place has a usable direction for a patch.
    """
    own_places = places_by_id(read_store(patch_store[0], schema="patches")) if patch_store else {}
    sun_track = read_track(track[0]) if track else None
    selected = read_json(selected_json, schema="selected/1")
    labels = read_json(split_json, schema="split/1")["patches"]
    wanted = [
        int(patch["id"])
        for patch in selected["patches"]
        if patch["kept"] and labels.get(str(patch["id"])) in ("validation", "test")
    ]
    traced = read_store(visibility_store, schema="visibility")["id"].values
    rows = {int(i): row for row, i in enumerate(traced)}
    fixed = read_store(visibility_store, group="fixed")
    directions = exact_directions(fixed["sun"].values)
    draws: dict[str, dict[str, Any]] = {name: {} for name in arcs.test}
    for patch_id in wanted:
        if patch_id not in rows:
            raise ValueError(f"{visibility_store}: expected patch {patch_id} of {selected_json}, found none")
        lit_any = directions_that_light(fixed, rows[patch_id])
        for name, ranges in arcs.test.items():
            rng = np.random.default_rng([arcs.seed, ARCS_PURPOSE, zlib.crc32(name.encode()), patch_id])
            own = own_places.get(patch_id)
            suns = own_suns(ranges, own, sun_track)
            try:
                lon, lat, images = draw_arc_set(ranges, arcs.tolerance, rng, lit_any, own, suns, directions)
            except NoUsableDirectionError as error:
                raise NoUsableDirectionError(
                    f"{visibility_store}: arcs.test.{name}: patch {patch_id}: {error}"
                ) from None
            draws[name][str(patch_id)] = {"lon": lon, "lat": lat, "images": images.tolist()}
    logger.info("drew image sets for %d of %d patches", len(wanted), len(selected["patches"]))
    write_json(out, {"schema": SCHEMA, "draws": draws})
