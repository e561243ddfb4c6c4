"""Division of the work on a map into jobs: tiles of windows, chunks of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pipeline.region.windows import Window, moving_windows

T = TypeVar("T")


def tiles(rows: int, cols: int, size: int, stride: int, tile_px: int) -> list[list[Window]]:
    """All windows of a map, by tiles: a window belongs to the tile that holds its top-left pixel.

    Parameters
    ----------
    rows, cols : of the map. size, stride : of the windows. tile_px : side of a tile, pixels.
    """
    parts: dict[tuple[int, int], list[Window]] = {}
    for window in moving_windows(rows, cols, size, stride):
        parts.setdefault((window.row // tile_px, window.col // tile_px), []).append(window)
    return [parts[key] for key in sorted(parts)]


def chunks(items: Sequence[T], per_job: int) -> list[Sequence[T]]:
    """Items in chunks of at most `per_job`, in their order."""
    return [items[i : i + per_job] for i in range(0, len(items), per_job)]
