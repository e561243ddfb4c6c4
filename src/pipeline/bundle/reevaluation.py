"""Evaluation of the shipped weights on the shipped patches, compared with the claimed scores.

Machines with equal numerical fingerprints (`pipeline.jobs.machine`) must agree to the last digit; others
within the tolerances below, which docs/reproducibility.md states.
"""

from __future__ import annotations

import json
import logging
import math
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.bundle.checks import Bundle, Row
from pipeline.bundle.numbers import shipped_files
from pipeline.bundle.write import shipped
from pipeline.config.runtime import RuntimeSection
from pipeline.evaluation.per_patch import AGAINST, ALWAYS, COUNTS, ENSEMBLE, Columns, moved
from pipeline.evaluation.stage import evaluate
from pipeline.jobs.job import set_threads
from pipeline.shards.shard_set import ShardSet, chosen
from pipeline.storage.atomic import read_json

logger = logging.getLogger(__name__)

# Relative tolerances of every patch's scores, and for each the share of pixels whose rank may differ.
BETWEEN_CPUS = 1e-3
WITH_GPU = 2e-2
RANKS = {BETWEEN_CPUS: 0.01, WITH_GPU: 0.05, 0.0: 0.0}

_MANIFEST, _SHARD = "subset/manifest.json", "subset/test.zarr.zip"
# All types that a shard needs; arrays of objects could contain code.
_DTYPE = re.compile(r"^[<|](f[248]|[iu][1248]|b1)$")
_MOST_CHUNK = 2**31


def check_store(path: Path) -> None:
    """Refuse a zarr store that holds anything but plain numbers.

    Raises
    ------
    ValueError
        If an entry is compressed in the zip, is not of zarr format 2 or of a numeric type, has a filter or a
        compressor other than Zstd, or has chunks that are too large. The message names the entry.
    """
    with zipfile.ZipFile(path) as archive:
        entries: dict[str, Any] = {}
        for info in archive.infolist():
            name = info.filename
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{path.name}: {name}: expected a stored entry, found a compressed one")
            if name.rpartition("/")[2] in (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json"):
                content = json.loads(archive.read(name))
                nested = content.get("metadata") if name.endswith((".zmetadata", "zarr.json")) else None
                entries |= {f"{name}: {key}": value for key, value in (nested or {}).items()}
                entries[name] = content
    for name, entry in entries.items():
        if name.endswith("zarr.json"):
            raise ValueError(f"{path.name}: {name}: expected zarr format 2")
        if not name.endswith(".zarray"):
            continue
        codec = (entry.get("compressor") or {}).get("id", "zstd")
        if entry.get("filters") or codec != "zstd" or not _DTYPE.match(str(entry.get("dtype"))):
            raise ValueError(
                f"{path.name}: {name}: expected plain numbers, found type {entry.get('dtype')!r}, "
                f"compressor {codec!r}, filters {entry.get('filters')!r}"
            )
        if math.prod(entry["chunks"]) > _MOST_CHUNK:
            raise ValueError(f"{path.name}: {name}: expected a smaller chunk, found {entry['chunks']}")


def check_again(bundle: Bundle, device: str = "cpu") -> Iterator[Row]:
    """Evaluate the shipped weights again: one row for the subset, then those of each predictor.

    Raises
    ------
    ValueError
        If the shipped shard is not a valid one, or the claimed scores lack a predictor.
    """
    check_store(bundle.path(_SHARD))
    manifest = bundle.path(_MANIFEST)
    entries = bundle.read(_MANIFEST, "manifest/1")["shards"]
    if [e["path"] for e in entries] != ["test.zarr.zip"]:
        raise ValueError(f"{_MANIFEST}: expected only the shard test.zarr.zip, found {entries}")
    ids = [int(i) for shard in ShardSet(manifest, "test").shards for i in shard.ids]
    yield _subset_row(bundle, ids)
    set_threads(bundle.config.training.cpu_threads)
    runtime = RuntimeSection.model_validate({"device": device})
    for section in bundle.evaluations():
        name, section = section.name, section.model_copy(update={"max_patches": None})
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch, "part.json")
            logger.info("%s: evaluating again on %d patches", name, len(ids))
            try:
                evaluate(section, manifest, shipped_files(bundle, name), runtime, out)
            except (ValueError, RuntimeError) as error:
                text = str(error).replace(f"{bundle.folder}/", "")
                yield Row("FAIL", "evaluation", f"evaluation_{name}: could not be run again: {text}")
                continue
            found = read_json(out)["patches"]
        yield from _compare(name, found, bundle.patches, ids)


def _subset_row(bundle: Bundle, ids: list[int]) -> Row:
    """Whether the shipped patches are the first evaluated ones, as many as the config asks for."""
    config = bundle.config
    total = bundle.read("manifests/manifest_test.json", "manifest/1")["patches"]["test"]
    evaluated = len(chosen(total, config.evaluation.max_patches))
    count = shipped(evaluated, config.bundle.patches, config.evaluation.batch)
    wanted = next(iter(bundle.patches.values()))["patch"][:count]
    if ids != wanted:
        return Row("FAIL", "subset", f"{_SHARD}: expected the patches {wanted}, found {ids}")
    return Row("PASS", "subset", f"the first {count} of {evaluated} evaluated patches are shipped")


def _compare(
    name: str,
    found: Mapping[str, Columns],
    claimed: Mapping[tuple[str, str], Columns],
    ids: list[int],
) -> Iterator[Row]:
    """Rows of one predictor: PASS when all of its scores agree, else one FAIL per condition."""
    worst, exact, failed = 0.0, True, False
    for condition, again in found.items():
        scores = claimed.get((condition, name))
        if scores is None:
            raise ValueError(f"evaluation/patches.csv: expected rows of {name} under {condition}")
        machines = {*scores["computed_on"][: len(ids)], *again["computed_on"]}
        gpu = any("cpu:" not in machine for machine in machines)
        tolerance = WITH_GPU if gpu else BETWEEN_CPUS if len(machines) > 1 else 0.0
        exact &= tolerance == 0
        off, where = _furthest(scores, again, tolerance)
        worst = max(worst, off)
        if where:
            failed = True
            limit = "the last digit, as on a machine of equal fingerprint" if not tolerance else ""
            yield Row(
                "FAIL",
                "evaluation",
                f"{name}, {condition}: {where}; expected agreement to {limit or f'{tolerance:g}'}",
            )
    if not failed:
        how = "to the last digit" if exact else f"within tolerance (largest difference {worst:.1e})"
        yield Row("PASS", "evaluation", f"{name}: {len(ids)} patches agree {how}")


def _furthest(claimed: Columns, again: Columns, tolerance: float) -> tuple[float, str]:
    """Largest relative difference over all scores, and a text on the largest one beyond the tolerance."""
    worst, most, words = 0.0, 0.0, ""
    for row, patch in enumerate(again["patch"]):
        if row >= len(claimed["patch"]) or claimed["patch"][row] != patch:
            return math.inf, f"patch {patch}: expected its row in patches.csv, found another"
        for name in (*ALWAYS, *ENSEMBLE):
            if name not in again:
                continue
            one, two = float(claimed[name][row]), float(again[name][row])
            least = abs(float(claimed[AGAINST[name]][row])) if name in AGAINST else 0.0
            off = abs(one - two) / max(abs(one), abs(two), least, 1e-9)
            worst = max(worst, off)
            if off > max(tolerance, most) or math.isnan(off):
                most = off
                words = f"patch {patch}: {name} claimed {one:.10g}, found {two:.10g}"
        for name in (name for name in COUNTS if name in again):
            share = moved(name, claimed[name][row], again[name][row])
            if share > RANKS[tolerance]:
                words = words or f"patch {patch}: {name} of {share:.1%} of the pixels differ from the claim"
    return worst, words
