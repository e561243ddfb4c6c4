"""Index files: splits given as lists of patch ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class SplitError(ValueError):
    """Patches that cannot be split as configured; the message says what was found and what to change."""


def read_index(paths: Sequence[Path | str]) -> list[Ids]:
    """Read the ids of each split.

    Parameters
    ----------
    paths : one file per split: ``.npy`` of whole numbers along one axis, or text with one number per line.

    Raises
    ------
    SplitError
        If a file cannot be read, contains anything but whole numbers >= 0, or lists a patch that is already
        listed in it or another file.
    """
    found: list[Ids] = []
    owner: dict[int, Path | str] = {}
    for path in paths:
        found.append(_ids(Path(path)))
        for i in found[-1].tolist():
            if i in owner:
                raise SplitError(
                    f"{path}: expected each patch in one split, once, found {i} in {owner[i]} too"
                )
            owner[i] = path
    return found


def _ids(path: Path) -> Ids:
    wanted = f"{path}: expected ids of patches, whole numbers from 0 on"
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
            if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
                raise SplitError(f"{wanted}, along one axis, found {values.dtype} of shape {values.shape}")
            ids = values.astype(np.int64)
        else:
            lines = path.read_text(encoding="utf-8").split()
            wrong = [line for line in lines if not (line.isascii() and line.isdigit() and len(line) < 19)]
            if wrong:
                raise SplitError(f"{wanted}, one per line, found {wrong[0]!r}")
            ids = np.array(lines, dtype=np.int64)
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise SplitError(f"{wanted}, found a file that cannot be read ({error})") from None
    except ValueError as error:
        if isinstance(error, SplitError):
            raise
        raise SplitError(f"{wanted}, found no such array ({error})") from None
    if len(ids) and ids.min() < 0:
        raise SplitError(f"{wanted}, found {ids.min()}")
    return ids
