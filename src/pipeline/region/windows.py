"""Overlapping windows in which a region is reconstructed."""

from __future__ import annotations

from dataclasses import dataclass

Sides = tuple[bool, bool, bool, bool]


@dataclass(frozen=True)
class Window:
    """A square of the region.

    Attributes
    ----------
    row, col : its top-left pixel in the region.
    size : its side, pixels.
    border : whether its top, right, bottom and left sides are on the region's border.
    """

    row: int
    col: int
    size: int
    border: Sides = (False, False, False, False)

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Slices of the region's rows and columns that it covers."""
        return slice(self.row, self.row + self.size), slice(self.col, self.col + self.size)


def starts(length: int, size: int, stride: int) -> list[int]:
    """First pixels of windows that cover ``[0, length)``: every `stride`, the last one flush with the end.

    Raises
    ------
    ValueError
        If a window is longer than `length`, or windows would leave gaps.
    """
    if not 0 < size <= length:
        raise ValueError(
            f"region.size_px: expected at least one window of patches.size_px = {size}, found {length}"
        )
    if not 0 < stride <= size:
        raise ValueError(f"region.stride_px: expected 1 to patches.size_px = {size}, found {stride}")
    out = list(range(0, length - size, stride))
    return [*out, length - size]


def moving_windows(rows: int, cols: int, size: int, stride: int) -> list[Window]:
    """Windows over a region of `rows` x `cols` pixels, row by row; every pixel is in at least one.

    Parameters
    ----------
    rows, cols : the region, pixels.
    size : side of a window, pixels (published 96).
    stride : step between windows, pixels (published 48).

    Raises
    ------
    ValueError
        As `starts`.
    """
    return [
        Window(row, col, size, (row == 0, col + size == cols, row + size == rows, col == 0))
        for row in starts(rows, size, stride)
        for col in starts(cols, size, stride)
    ]
