"""Which test patches are looked at."""

from __future__ import annotations


def chosen(total: int, most: int | None) -> list[int]:
    """Indices of at most `most` of `total` patches, evenly spread; all of them when `most` is None."""
    if most is None or most >= total:
        return list(range(total))
    return sorted({round(i * (total - 1) / max(1, most - 1)) for i in range(most)})
