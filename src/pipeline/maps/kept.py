"""Prepared images of an unfinished chunk, kept so that a restarted job does not prepare them again."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.storage.atomic import replacing

Record = dict[str, Any]


class KeptImages:
    """Files beside an unfinished store, one per image; `clear` removes them once the store is finished.

    The store's path contains the key of its stage, so the files belong to the same inputs, config and code.

    Parameters
    ----------
    out : the store.
    """

    def __init__(self, out: Path | str) -> None:
        path = Path(out)
        self._folder = path.with_name(f".{path.name}.images")

    def put(self, number: int, record: Record, radiance: NDArray[np.float32] | None) -> None:
        """Keep an image: its record (JSON values), and its radiance; None for none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {} if radiance is None else {"radiance": radiance}
        with replacing(self._path(number)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, record=np.array(json.dumps(record)), **values)

    def get(self, number: int) -> tuple[Record, NDArray[np.float32] | None] | None:
        """Record and radiance that `put` kept; None where there is no complete file."""
        try:
            with np.load(self._path(number), allow_pickle=False) as file:
                radiance = file.get("radiance")
                return json.loads(str(file["record"])), radiance
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def clear(self) -> None:
        """Remove all kept images."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"
