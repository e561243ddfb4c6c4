"""All patches of one split, across shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.shards.manifest import verify_shards
from pipeline.shards.reader import Shard
from pipeline.storage.atomic import read_json


@dataclass(frozen=True)
class Place:
    """Where a patch lives: its shard and its position there."""

    shard: int
    patch: int


class ShardSet:
    """All patches of one split, from a manifest whose digests are verified first.

    Parameters
    ----------
    manifest : JSON made by `pipeline.shards.manifest.write_manifest`.
    split : ``train``, ``validation`` or ``test``.

    Raises
    ------
    StoreError
        If a shard is absent or its bytes are not those of the manifest; the message names it.
    """

    def __init__(self, manifest: Path | str, split: str, verify: bool = True) -> None:
        self.manifest = read_json(manifest, "manifest/1")
        entries = [e for e in self.manifest["shards"] if e["split"] == split]
        folder = Path(manifest).parent
        paths = [(folder / e["path"]).resolve() for e in entries]
        if verify:
            verify_shards(manifest, self.manifest, split)
        self.shards = [Shard(path) for path, e in zip(paths, entries) if e["patches"]]
        self.places = [Place(s, p) for s, shard in enumerate(self.shards) for p in range(len(shard))]
        self.statistics: dict[str, Any] = self.manifest.get("statistics", {})

    def __len__(self) -> int:
        return len(self.places)

    def at(self, index: int) -> tuple[Shard, int]:
        """Shard and position of patch `index`."""
        place = self.places[index]
        return self.shards[place.shard], place.patch


def chosen(total: int, most: int | None) -> list[int]:
    """Indices of at most `most` of `total` patches, evenly spread; all of them when `most` is None."""
    if most is None or most >= total:
        return list(range(total))
    return sorted({round(i * (total - 1) / max(1, most - 1)) for i in range(most)})
