"""All patches of one split, across shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.shards.manifest import verify_shards
from pipeline.shards.reader import Shard
from pipeline.storage.atomic import read_json


class ShardSet:
    """All patches of one split, from a manifest.

    Parameters
    ----------
    manifest : JSON written by `pipeline.shards.manifest.write_manifest`.
    split : ``train``, ``validation`` or ``test``. verify : whether to check the shards' digests.

    Attributes
    ----------
    manifest : its content. shards : those of the split that have patches.
    places : shard and position in it of every patch. statistics : of the training patches; empty without any.

    Raises
    ------
    StoreError
        If a shard is absent or differs from its digest; the message names it.
    ValueError
        If the manifest is not of schema ``manifest/1``.
    """

    def __init__(self, manifest: Path | str, split: str, verify: bool = True) -> None:
        self.manifest = read_json(manifest, "manifest/1")
        entries = [e for e in self.manifest["shards"] if e["split"] == split]
        folder = Path(manifest).parent
        paths = [(folder / e["path"]).resolve() for e in entries]
        if verify:
            verify_shards(manifest, self.manifest, split)
        self.shards = [Shard(path) for path, e in zip(paths, entries) if e["patches"]]
        self.places = [(shard, patch) for shard in self.shards for patch in range(len(shard))]
        self.statistics: dict[str, Any] = self.manifest.get("statistics", {})

    def __len__(self) -> int:
        return len(self.places)

    def at(self, index: int) -> tuple[Shard, int]:
        """Shard and position of patch `index`."""
        return self.places[index]


def chosen(total: int, most: int | None) -> list[int]:
    """Indices of at most `most` of `total` patches, evenly spread; all of them when `most` is None."""
    if most is None or most >= total:
        return list(range(total))
    return sorted({round(i * (total - 1) / max(1, most - 1)) for i in range(most)})
