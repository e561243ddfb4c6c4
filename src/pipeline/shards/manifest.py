"""Stages ``manifest``: the list of shards with their digests, and statistics of the training patches."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.stages.shards import ManifestStage
from pipeline.jobs.progress import progress
from pipeline.shards.reader import Shard
from pipeline.storage.atomic import read_json, write_json
from pipeline.storage.sha256 import file_sha256
from pipeline.storage.store import StoreError, store_attrs
from pipeline.terrain.blocks import block_mean

logger = logging.getLogger(__name__)


def write_manifest(shards: Mapping[str, Any], section: ManifestStage, out: Path | str) -> None:
    """List shards with digest, patch count and split; add statistics of the training patches.

    Parameters
    ----------
    shards : split name -> paths.
    section : number of training patches that enter the statistics, if there are any.
    out : manifest to write; shard paths in it are relative to its folder.

    Raises
    ------
    StoreError
        If a shard is of another split.
    ValueError
        If a split has no patches.
    """
    out = Path(out)
    entries: list[dict[str, Any]] = []
    lists = {split: [group] if isinstance(group, str) else group for split, group in shards.items()}
    files = [(split, Path(path)) for split, group in lists.items() for path in group]
    for split, path in progress(files, len(files), "shards listed"):
        found = store_attrs(path)
        if found.get("split") != split:
            raise StoreError(f"{path}: expected a shard of split {split!r}, found {found.get('split')!r}")
        shard = Shard(path)
        relative = Path(os.path.relpath(path, out.parent)).as_posix()
        entry = {"path": relative, "sha256": file_sha256(path), "split": split, "patches": len(shard)}
        entries.append(entry)
    count = {split: sum(e["patches"] for e in entries if e["split"] == split) for split in shards}
    for split, n in count.items():
        if n == 0:
            raise ValueError(f"split {split}: expected at least one patch in its shards, found none")
    manifest: dict[str, Any] = {"schema": "manifest/1", "shards": entries, "patches": count}
    first = store_attrs(files[0][1])
    manifest["grid"] = {k: first[k] for k in ("pixel_m", "size_px", "halo_px", "factor")}
    if "train" in shards and section.statistics_patches is not None:
        train = [p for s, p in files if s == "train"]
        manifest["statistics"] = _statistics(train, section.statistics_patches)
    write_json(out, manifest)


def _statistics(paths: list[Path], most: int) -> dict[str, float]:
    """Height statistics of training patches, in units of the pixel size.

    ``relief_px``: RMS of the DEM about each patch's mean. ``residual_px``: RMS of the DEM minus its
    nearest-neighbour block mean, the scale of the detail that super-resolution has to add.
    """
    relief, detail, n = 0.0, 0.0, 0
    for path in paths:
        shard = Shard(path)
        halo, size, factor = (int(shard.attrs[k]) for k in ("halo_px", "size_px", "factor"))
        step = max(1, -(-len(shard) // most))
        for patch in range(0, len(shard), step):
            dem = shard.dem(patch)[halo : halo + size, halo : halo + size].astype(float)
            dem = dem / float(shard.attrs["pixel_m"])
            means = block_mean(dem, factor).repeat(factor, axis=0).repeat(factor, axis=1)
            relief += float(np.mean((dem - dem.mean()) ** 2))
            detail += float(np.mean((dem - means) ** 2))
            n += 1
    return {"relief_px": float(np.sqrt(relief / n)), "residual_px": float(np.sqrt(detail / n)), "patches": n}


def verify_shards(
    manifest: Path | str, content: Mapping[str, Any] | None = None, split: str | None = None
) -> None:
    """Check that the shards of a manifest have the digests that it lists; of one `split`, or all.

    Raises
    ------
    StoreError
        If one differs; the message names the shard, both digests and the command that rebuilds it.
    """
    manifest = Path(manifest)
    content = content or read_json(manifest, "manifest/1")
    for entry in content["shards"]:
        if split is not None and entry["split"] != split:
            continue
        path = (manifest.parent / entry["path"]).resolve()  # the manifest may be read through a link
        found = file_sha256(path) if path.is_file() else "no file"
        if found != entry["sha256"]:
            raise StoreError(
                f"{path}: expected a shard with sha256 {entry['sha256']}, found {found}; "
                # If it is only deleted, everything that depends on it is made again.
                f"rebuild only it: `rm -f {path}`, then the same command with {path} as its only target, "
                f"then the same command again"
            )
