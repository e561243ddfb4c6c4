"""Stage ``split``: assigns kept patches to training, validation and test.

Only patches of the disjoint grid are held out (validation, test); the additional ones of a stride smaller
than a patch, and those of rescaled terrain, are only used for training. A training patch that shares a pixel
with a held-out one, or is within ``split.gap_px`` of one, is dropped, so that no pixel is in two splits. The
result depends only on the kept patches and the section, not on the tiles. With method ``test`` every kept
patch is a test patch, also those off the grid, which share pixels. With method ``index`` files list the
patches of each split; all other kept patches are dropped.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.split import SplitSection
from pipeline.config.stages.terrain import SplitStage
from pipeline.storage.atomic import read_json, write_json
from pipeline.terrain.footprints import Squares, touching
from pipeline.terrain.split_index import SplitError, read_index

logger = logging.getLogger(__name__)

SCHEMA = "split/1"
SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST, DROPPED = range(4)
_LABELS = (*SPLITS, "dropped")
# Distinguishes this stage's random numbers from those of others with the same seed.
_PURPOSE = 0x5B117


def split_patches(
    selected_jsons: Sequence[Path | str],
    section: SplitStage,
    out_json: Path | str,
    index: Sequence[Path | str] = (),
) -> None:
    """Label every kept patch ``train``, ``validation``, ``test`` or ``dropped``.

    Parameters
    ----------
    selected_jsons : files written by `select_tile`, one for each tile, in any order.
    section : settings of the split, and the side of a patch.
    out_json : JSON to write, schema ``split/1``. With method ``index``, `not_kept` is the number of listed
        patches that were not kept.
    index : with method ``index``, the files of the splits train, validation and test.

    Raises
    ------
    SplitError
        If the tiles are of different runs, a site pattern matches nothing, an index file is invalid or lists
        an unknown patch, or a split is empty (except the two that method ``test`` leaves empty).
    """
    split, size_px = section.split, section.size_px
    kept, others, sites, pixel_m = _gather(selected_jsons, size_px)
    if not kept:
        raise SplitError("split: expected patches to split, found none kept; lower coverage.min_share")
    squares = _squares(kept, sites, size_px)
    more: dict[str, int] = {}
    if split.method == "index":
        label, reason, more["not_kept"] = named(kept, others, index)
    else:
        label, reason = assign(kept, sites, squares, size_px, split)
    _clear_overlaps(label, reason, squares, split.gap_px * pixel_m, 1e-6 * pixel_m)
    counts = {name: int(np.sum(label == i)) for i, name in enumerate(_LABELS)}
    wanted = ("test",) if split.method == "test" else SPLITS
    empty = [name for name in wanted if not counts[name]]
    if empty:
        raise SplitError(
            f"split: expected patches in all splits, found none in {' and '.join(empty)} "
            f"({', '.join(f'{k} {v}' for k, v in counts.items())}; method {split.method!r}, "
            f"{len(kept)} kept patches on {len(sites)} sites); use more terrain, larger shares, or a smaller "
            "split.block_px or split.gap_px"
        )
    logger.info("split: %s", ", ".join(f"{k} {v}" for k, v in counts.items()))
    write_json(
        out_json,
        {
            "schema": SCHEMA,
            "method": split.method,
            "patches": {str(p["id"]): _LABELS[i] for p, i in zip(kept, label, strict=True)},
            "counts": counts,
            "dropped": dict(sorted(Counter(r for r in reason if r).items())),
            **more,
        },
    )


def named(
    kept: list[dict], others: set[int], index: Sequence[Path | str]
) -> tuple[NDArray[np.int64], list[str | None], int]:
    """Initial labels by index files, reasons of dropped patches, and number of listed patches not kept.

    Parameters
    ----------
    kept : the patches. others : ids of those that were not kept.
    index : the files of the splits train, validation and test.

    Raises
    ------
    SplitError
        If a file is invalid, or lists an unknown patch.
    """
    position = {p["id"]: i for i, p in enumerate(kept)}
    label = np.full(len(kept), DROPPED)
    not_kept = 0
    for split, (path, ids) in enumerate(zip(index, read_index(index), strict=True)):
        unknown = [i for i in ids.tolist() if i not in position and i not in others]
        if unknown:
            raise SplitError(
                f"{path}: expected ids of the terrain's patches, found {len(unknown)} others, first "
                f"{unknown[0]}; see patches.origin, patches.size_px and the order of inputs.dem"
            )
        label[[position[i] for i in ids.tolist() if i in position]] = split
        not_kept += sum(i in others for i in ids.tolist())
    if not_kept:
        logger.warning("split: index files name %d patches that coverage.min_share does not keep", not_kept)
    return label, ["named in no index file" if i == DROPPED else None for i in label], not_kept


def _gather(paths: Sequence[Path | str], size: int) -> tuple[list[dict], set[int], list[dict], float]:
    """Kept patches of all tiles by ascending id, the ids of the others, the sites, and the pixel size."""
    tiles = [read_json(p, "selected/1") for p in paths]
    if not tiles:
        raise SplitError("split: expected the selected patches of at least one tile, found none")
    numbers = sorted(t["tile"] for t in tiles)
    if numbers != list(range(len(tiles))):
        raise SplitError(f"split: expected tiles 0 to {len(tiles) - 1}, each once, found {numbers}")
    first = tiles[0]
    for path, tile in zip(paths, tiles, strict=True):
        for key in ("sites", "size_px", "pixel_m"):
            if tile[key] != first[key]:
                raise SplitError(f"{path}: expected the {key} of {paths[0]}, found others (mixed runs?)")
    if first["size_px"] != size:
        raise SplitError(
            f"{paths[0]}: expected patches of {size} px (patches.size_px), found {first['size_px']}"
        )
    kept = sorted((p for t in tiles for p in t["patches"] if p["kept"]), key=lambda p: p["id"])
    ids = [p["id"] for p in kept]
    if len(set(ids)) != len(ids):
        raise SplitError("split: expected each patch id once, found some in two tiles (mixed runs?)")
    others = {p["id"] for t in tiles for p in t["patches"] if not p["kept"]}
    return kept, others, first["sites"], first["pixel_m"]


def _squares(kept: list[dict], sites: list[dict], size: int) -> Squares:
    site = np.array([p["site"] for p in kept])
    x, y = (np.array([p[key] for p in kept]) for key in ("x0", "y0"))
    half = size / 2 * np.array([s["pixel_m"] for s in sites])[site]
    maps = {key: np.array([s[key] for s in sites])[site] for key in ("pole", "lon0", "scale")}
    return Squares.on_common_map(x, y, half, **maps)


def assign(
    kept: list[dict], sites: list[dict], squares: Squares, size: int, split: SplitSection
) -> tuple[NDArray[np.int64], list[str | None]]:
    """Initial labels, before overlapping patches are dropped, and reasons of those already dropped.

    Parameters
    ----------
    kept, sites : records of n patches and of their sites, from files of schema ``selected/1``.
    squares : footprints of the patches; not used. size : side of a patch, pixels. split : settings.

    Returns
    -------
    (n,) labels TRAIN, VALIDATION, TEST or DROPPED, and n reasons, None for patches that are not dropped.

    Raises
    ------
    SplitError
        As `allot`; or if a pattern of site names matches no file, or one site would be in two splits.
    """
    on_grid = np.array([p["on_grid"] for p in kept])
    rng = np.random.default_rng([split.seed, _PURPOSE])
    label = np.full(len(kept), TRAIN)
    reason: list[str | None] = [None] * len(kept)
    if split.method == "test":
        label[:] = TEST
        return label, reason
    if split.method == "random":
        grid = np.flatnonzero(on_grid)
        label[grid] = random_labels(len(grid), split, rng)
        return label, reason
    if split.method == "block":
        units = [_block(p, sites, size, split.block_px) for p in kept]
        found = f"blocks of {split.block_px} px (split.block_px)"
    else:
        units = [(sites[p["site"]]["whole"],) for p in kept]
        found = "sites (connected pieces of terrain)"
    sizes = Counter(u for u, on in zip(units, on_grid, strict=True) if on)
    chosen = _named_sites(sites, split) if split.test_sites else allot(sizes, split, rng, found)
    for i, unit in enumerate(units):
        label[i] = chosen.get(unit, TRAIN)
        if label[i] != TRAIN and not on_grid[i]:
            # Neither for tests (off the grid) nor for training (in held-out terrain).
            label[i], reason[i] = DROPPED, "off the grid in held-out terrain"
    return label, reason


def random_labels(n: int, split: SplitSection, rng: np.random.Generator) -> NDArray[np.int64]:
    """Shuffled labels of n patches: numbers of train and validation are rounded down, the rest is test.

    Shares are exact decimals as written: 91,708 patches at .8 / .1 / .1 give the published
    73,366 / 9,170 / 9,172.
    """
    validation, test = Fraction(str(split.validation)), Fraction(str(split.test))
    n_train = int(n * (1 - validation - test))
    n_validation = int(n * validation)
    ordered = np.repeat([TRAIN, VALIDATION, TEST], [n_train, n_validation, n - n_train - n_validation])
    label = np.empty(n, dtype=np.int64)
    label[rng.permutation(n)] = ordered
    return label


def _block(patch: dict[str, Any], sites: list[dict], size: int, block_px: int) -> tuple[int, ...]:
    """The spatial block with a patch's centre; blocks start at the anchor of the site's patch grid."""
    anchor = sites[patch["site"]]["anchor"]
    row = (2 * (patch["row"] - anchor[0]) + size) // (2 * block_px)
    col = (2 * (patch["col"] - anchor[1]) + size) // (2 * block_px)
    return patch["site"], row, col


def allot(
    sizes: Counter[tuple[int, ...]], split: SplitSection, rng: np.random.Generator, found: str
) -> dict[tuple[int, ...], int]:
    """Randomly choose whole units (blocks or sites) for test and validation, close to the shares.

    In shuffled order, a unit is taken if this brings the split closer to its share of the patches; a split
    that took none gets the smallest remaining unit. All other units are for training.

    Parameters
    ----------
    sizes : number of patches of each unit. split : shares of validation and test.
    rng : of the order. found : what the units are, for the error message.

    Returns
    -------
    TEST or VALIDATION of each chosen unit; units for training are left out.

    Raises
    ------
    SplitError
        With fewer than three units.
    """
    if len(sizes) < 3:
        raise SplitError(
            f"split: expected at least 3 {found} with kept patches, found {len(sizes)}; use more terrain, "
            "a smaller split.block_px, or split.method random"
        )
    units = sorted(sizes)
    order = [units[i] for i in rng.permutation(len(units))]
    total = sum(sizes.values())
    chosen: dict[tuple[int, ...], int] = {}
    for label, share, spare in ((TEST, split.test, 2), (VALIDATION, split.validation, 1)):
        target, taken = share * total, 0
        left = [u for u in order if u not in chosen]
        for unit in left:
            if len(sizes) - len(chosen) <= spare:
                break
            if abs(taken + sizes[unit] - target) < abs(taken - target):
                chosen[unit] = label
                taken += sizes[unit]
        if not taken:
            chosen[min(left, key=lambda u: sizes[u])] = label
    return chosen


def _named_sites(sites: list[dict], split: SplitSection) -> dict[tuple[int, ...], int]:
    """Labels of the sites that match the config's patterns of validation and test sites."""
    chosen: dict[tuple[int, ...], int] = {}
    for label, key, patterns in (
        (TEST, "test_sites", split.test_sites),
        (VALIDATION, "validation_sites", split.validation_sites),
    ):
        for pattern in patterns:
            hits = [i for i, s in enumerate(sites) if any(fnmatchcase(f, pattern) for f in s["files"])]
            if not hits:
                names = sorted({f for s in sites for f in s["files"]})
                raise SplitError(
                    f"split.{key}: expected a pattern of input file names without suffix, found "
                    f"{pattern!r}, which matches none of {', '.join(names)}"
                )
            for i in hits:
                if chosen.setdefault((i,), label) != label:
                    raise SplitError(
                        f"split.{key}: expected each piece of terrain in one split, found {pattern!r} on "
                        f"{sites[i]['name']}, which test_sites holds too (overlapping or touching files "
                        "are one piece)"
                    )
    return chosen


def _clear_overlaps(
    label: NDArray[np.int64], reason: list[str | None], squares: Squares, gap_m: float, slack_m: float
) -> None:
    """Drop validation patches that overlap test ones, and training patches near either.

    Validation and test patches can only overlap where files on different lattices cover the same ground.
    `slack_m` is a tolerance for patches that touch without overlapping.
    """
    near = "within split.gap_px of a held-out patch" if gap_m else "overlaps a held-out patch"
    for who, against, gap, why in (
        (VALIDATION, (TEST,), 0.0, "overlaps a test patch on another lattice"),
        (TRAIN, (TEST, VALIDATION), gap_m, near),
    ):
        held, mine = np.flatnonzero(np.isin(label, against)), np.flatnonzero(label == who)
        for i in mine[touching(squares.take(mine), squares.take(held), gap - slack_m)]:
            label[i], reason[int(i)] = DROPPED, why
