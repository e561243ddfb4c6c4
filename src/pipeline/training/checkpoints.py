"""Checkpoints: written atomically, indexed by digest, and verified before use.

A checkpoint is one safetensors file (tensors) with its JSON state in the index. The newest one with the right
digest is loaded; damaged ones are skipped with a warning; if all are damaged, training stops instead of
silently starting again.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from pipeline.storage.atomic import replacing, write_json
from pipeline.storage.sha256 import content_sha256

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """Checkpoints exist but none can be used."""


class Checkpoints:
    """The checkpoints of one stage.

    Parameters
    ----------
    folder : of the checkpoints; not a declared output, so that it survives a failed job.
    key : the stage's key; checkpoints of another key are refused.
    keep : number of the newest ones that are kept.
    """

    def __init__(self, folder: Path | str, key: str, keep: int = 3) -> None:
        self.folder, self.key, self.keep = Path(folder), key, keep
        self._index = self.folder / "index.json"

    def _entries(self) -> list[dict[str, Any]]:
        """The index's entries, oldest first; empty if nothing was saved yet."""
        found = "none"
        if self._index.is_file():
            try:
                index = json.loads(self._index.read_text(encoding="utf-8"))
                key, entries = index["key"], index["checkpoints"]
            except (ValueError, TypeError, KeyError):
                found = "a damaged file"
            else:
                if key == self.key:
                    return entries
                raise CheckpointError(
                    f"{self._index}: expected checkpoints of stage key {self.key}, found {key}; "
                    + self._advice()
                )
        elif not any(self.folder.glob("*.safetensors")):
            return []
        raise CheckpointError(f"{self._index}: expected a checkpoint index, found {found}; {self._advice()}")

    def _advice(self) -> str:
        return (
            f"delete the folder {self.folder} to start this training from the beginning: "
            f"`rm -r {self.folder}`, then give the same command again"
        )

    def save(self, samples: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint, then remove all except the newest `keep`.

        Parameters
        ----------
        samples : number of training samples so far; checkpoints of as many or more are dropped.
        tensors : weights and optimiser state by name. state : JSON values.

        Raises
        ------
        CheckpointError
            If the folder's index is damaged or of another key.
        OSError
            If a file cannot be written.
        """
        entries = [e for e in self._entries() if e["samples"] < samples]
        if not self._index.is_file():
            # Before the first weights: weights without an index then mean damage, not an interrupted save.
            write_json(self._index, {"key": self.key, "checkpoints": []})
        name = f"{samples:012d}.safetensors"
        content = save({k: v.detach().cpu().contiguous() for k, v in sorted(tensors.items())})
        with replacing(self.folder / name) as temporary:
            temporary.write_bytes(content)
        entry = {"file": name, "samples": samples, "sha256": content_sha256(content), "state": state}
        self._keep([*entries, entry], self.keep)

    def load(self) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """Samples, tensors and state of the newest intact checkpoint, or None if there is none.

        Raises
        ------
        CheckpointError
            If there are checkpoints but all are damaged, or they are of another key.
        """
        entries = self._entries()
        for entry in reversed(entries):
            path = self.folder / entry["file"]
            content = path.read_bytes() if path.is_file() else b""
            if content_sha256(content) == entry["sha256"]:
                return entry["samples"], load(content), entry["state"]
            text = "%s: expected sha256 %s, found another (%d bytes); trying the checkpoint before it"
            logger.warning(text, path, entry["sha256"], len(content))
        if entries:
            raise CheckpointError(
                f"{self.folder}: expected at least one whole checkpoint, found {len(entries)} damaged; "
                + self._advice()
            )
        return None

    def keep_newest(self) -> None:
        """Remove all checkpoints except the newest."""
        self._keep(self._entries(), 1)

    def _keep(self, entries: list[dict[str, Any]], count: int) -> None:
        """Write an index of the newest entries, and remove the files of the others."""
        write_json(self._index, {"key": self.key, "checkpoints": entries[-count:]})
        for old in entries[:-count]:
            with suppress(FileNotFoundError):
                (self.folder / old["file"]).unlink()
