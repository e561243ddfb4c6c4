"""A few patches of a split as one shard with its own manifest, to be read like the whole split."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.stages.shards import ManifestStage
from pipeline.shards.manifest import write_manifest
from pipeline.shards.reader import Shard
from pipeline.shards.shard_set import ShardSet
from pipeline.storage.store import Stored, StoreError, StoreWriter, read_store

# Of the whole shard; that of the first patch stands for all.
_SAME = ("pixel_m", "size_px", "halo_px", "factor", "split", "light_halo_px", "sun")
# Images for users, which can be made again from the rest.
_LEFT_OUT = "fixed/radiance"


def write_subset(shards: ShardSet, picked: Sequence[int], folder: Path | str) -> None:
    """Copy patches into ``<folder>/test.zarr.zip`` and list it in ``<folder>/manifest.json``.

    Parameters
    ----------
    shards : the test split. picked : indices of the patches, which keep this order.
    folder : where to write.

    Raises
    ------
    StoreError
        If the patches' shards were made in different ways.
    """
    places = [shards.at(i) for i in picked]
    first = places[0][0]
    for shard, _ in places:
        for name in _SAME:
            if shard.attrs.get(name) != first.attrs.get(name):
                raise StoreError(
                    f"{shard.path}: {name}: expected {first.attrs.get(name)!r} as in {first.path}, "
                    f"found {shard.attrs.get(name)!r}"
                )
    attrs = {key: value for key, value in first.attrs.items() if key != "schema"}
    path = Path(folder) / "test.zarr.zip"
    with StoreWriter(path, "shard", attrs) as writer:
        for group in ("", "fixed", "fibonacci", *_more(first)):
            _copy(writer, group, places)
    write_manifest({"test": [str(path)]}, ManifestStage(), path.with_name("manifest.json"))


def _more(shard: Shard) -> list[str]:
    """Groups of a shard that hold fixed draws, and rendered scenes."""
    with zipfile.ZipFile(shard.path) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    return sorted(name for name in names if name.startswith("draws_") or name == "scenes")


def _copy(writer: StoreWriter, group: str, places: Sequence[tuple[Shard, int]]) -> None:
    """Copy a group's arrays; what belongs to patches row by row, what belongs to the shard from the first."""
    paths = dict.fromkeys(shard.path for shard, _ in places)
    opened: dict[Path, Stored] = {path: read_store(path, group) for path in paths}
    for name, array in opened[places[0][0].path].items():
        full = f"{group}/{name}".lstrip("/")
        if full == _LEFT_OUT:
            continue
        if array.dims[0] != "patch":
            writer.write(full, array.values, array.dims)
            continue
        # Draws of different shards may hold different numbers of images.
        shape = np.max([opened[shard.path][name].shape[1:] for shard, _ in places], axis=0, initial=0)
        rows = len(places), *(int(n) for n in shape)
        chunks = (1, *rows[1:]) if len(rows) > 2 and not group.startswith("draws_") else rows
        target = writer.create(full, rows, array.dtype, array.dims, chunks)
        whole = np.full(rows, -1 if name == "images" else 0, array.dtype) if chunks == rows else None
        for to, (shard, patch) in enumerate(places):
            values: Any = opened[shard.path][name][patch]
            if whole is None:
                target[to] = values
            else:
                corner: tuple[Any, ...] = (to, *(slice(0, n) for n in np.shape(values)))
                whole[corner] = values
        if whole is not None and whole.size:
            target[...] = whole
