"""Stage ``shards``: a tile's patches of one split, with the visibility of the Sun, in one store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.storage.atomic import read_json
from pipeline.storage.store import StoreWriter, read_store

logger = logging.getLogger(__name__)

_TABLE = ("row", "col", "x0", "y0", "lon", "lat", "site", "on_grid", "halo", "pole")


def write_shard(
    split: str,
    patch_store: Path | str,
    visibility_store: Path | str,
    split_json: Path | str,
    factor: int,
    out: Path | str,
    arcs_json: Path | str | None = None,
    masks_json: Path | str | None = None,
    images: Callable[[StoreWriter, dict[str, Any], Any, Any, list[int]], None] | None = None,
    scenes_store: Path | str | None = None,
) -> None:
    """Write the shard of one split of one tile.

    Parameters
    ----------
    split : ``train``, ``validation`` or ``test``.
    patch_store, visibility_store : the tile's stores.
    split_json : the split of all patches.
    factor : super-resolution factor, recorded for readers.
    out : store to write; chunks hold one patch each, uncompressed, so that readers can memory-map them.
    arcs_json, masks_json : the tile's fixed draws, for the test split.
    images : writer of images for users (`pipeline.shards.radiance.RadianceWriter`), or None. It is an
        argument, since its imports would otherwise enter the key of every shard.
    scenes_store : the tile's rendered image sets of this split, or None. With them, a count map of the
        patches is copied too.

    Raises
    ------
    ValueError
        If a patch of the split lacks visibility or (with `scenes_store`) image sets, or a test patch lacks
        draws.
    """
    assigned = read_json(split_json, "split/1")["patches"]
    patches = read_store(patch_store, schema="patches")
    light = read_store(visibility_store, schema="visibility")
    ids = patches["id"].values
    source = np.flatnonzero([assigned.get(str(i)) == split for i in ids])
    wanted = [int(ids[s]) for s in source]
    lit_rows = _rows_of(wanted, light, visibility_store, "visibility")
    attrs = {key: patches.attrs[key] for key in ("pixel_m", "size_px", "halo_px", "crs_wkt")}
    attrs |= {"factor": factor, "split": split, "light_halo_px": light.attrs["halo_px"]}
    attrs |= {key: light.attrs[key] for key in ("sun", "engine")}
    with StoreWriter(out, "shard", attrs) as writer:
        for name in ("id", *_TABLE):
            values = patches[name].values[source]
            writer.write(name, values, ("patch", "side") if name == "halo" else ("patch",))
        _copy(writer, "dem", patches["dem"], source)
        for group in ("fixed", "fibonacci"):
            visible = read_store(visibility_store, group)
            for name in ("sun", "present", "lit", "share"):
                if name not in visible:
                    continue
                if visible[name].dims[0] == "patch":
                    _copy(writer, f"{group}/{name}", visible[name], lit_rows)
                else:
                    writer.write(f"{group}/{name}", visible[name].values, visible[name].dims)
        if scenes_store is not None:
            scenes = read_store(scenes_store, schema="scenes")
            rows = _rows_of(wanted, scenes, scenes_store, "image sets")
            for name in ("sun", "shift", "set", "relief", "radiance", "expected"):
                _copy(writer, f"scenes/{name}", scenes[name], rows)
            if "count" in patches:  # where real altimetry lies, for the a priori DEM of a sample
                _copy(writer, "spots", patches["count"], source)
        if arcs_json is not None and masks_json is not None:
            _write_draws(writer, wanted, arcs_json, masks_json)
        if images is not None:
            heights = _Rows(patches["dem"], source)
            images(writer, attrs, heights, read_store(visibility_store, "fixed"), lit_rows)
    logger.info("%s: %d patches of split %s", Path(out).name, len(source), split)


def _rows_of(wanted: list[int], store: Any, path: Path | str, what: str) -> list[int]:
    """Rows of the given patches in a store."""
    where = {int(i): n for n, i in enumerate(store["id"].values)}
    missing = [i for i in wanted if i not in where]
    if missing:
        raise ValueError(f"{path}: expected {what} of patch {missing[0]}, found none")
    return [where[i] for i in wanted]


class _Rows:
    """Some rows of an array, read one by one on access."""

    def __init__(self, array: Any, rows: Any) -> None:
        self._array, self._rows = array, rows

    def __getitem__(self, index: int) -> Any:
        return self._array[int(self._rows[index])]


def _copy(writer: StoreWriter, name: str, array: Any, rows: Any) -> None:
    """Copy the given patches of an array, one at a time."""
    shape = (len(rows), *array.shape[1:])
    target = writer.create(name, shape, array.dtype, array.dims, (1, *array.shape[1:]))
    for to, row in enumerate(rows):
        target[to] = array[int(row)]


def _write_draws(writer: StoreWriter, ids: list[int], arcs_json: Path | str, masks_json: Path | str) -> None:
    """Write the fixed draws of the test patches, one group per named draw."""
    arcs = read_json(arcs_json, "arcs/1")["draws"]
    masks = read_json(masks_json, "masks/1")["draws"]
    for name, table in arcs.items():
        lost = [i for i in ids if str(i) not in table or str(i) not in masks[name]]
        if lost:
            raise ValueError(f"{arcs_json}: {name}: expected a draw for test patch {lost[0]}, found none")
        most = max((len(table[str(i)]["images"]) for i in ids), default=0)
        images = np.full((len(ids), most), -1, np.int32)
        # Strips only (4 numbers), or with seams and blocks, where zeros mean none.
        lengths = {len(strip) for i in ids for strip in masks[name][str(i)]["strips"]}
        strips = np.zeros((len(ids), most, max(lengths, default=4)))
        for row, i in enumerate(ids):
            drawn = table[str(i)]["images"]
            images[row, : len(drawn)] = drawn
            rows = masks[name][str(i)]["strips"]
            if len(rows) != len(drawn):
                raise ValueError(
                    f"{masks_json}: {name}: patch {i}: expected {len(drawn)} masks, one per image, "
                    f"found {len(rows)}"
                )
            for image, strip in enumerate(rows):
                strips[row, image, : len(strip)] = strip
        group = f"draws_{name}"
        writer.write(f"{group}/lon", np.array([table[str(i)]["lon"] for i in ids], float), ("patch",))
        writer.write(f"{group}/lat", np.array([table[str(i)]["lat"] for i in ids], float), ("patch",))
        writer.write(f"{group}/images", images, ("patch", "image"))
        writer.write(f"{group}/strips", strips, ("patch", "image", "strip"))
