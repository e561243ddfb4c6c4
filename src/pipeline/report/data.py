"""Data of the report, read from the rule's inputs; absent inputs become None or empty."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.names import BRIDGE_STAGES, SystemName
from pipeline.config.photometry import PhotometrySection
from pipeline.config.report import ReportSection
from pipeline.config.stages.report import ReportStage
from pipeline.report.figures.patches import PatchExample
from pipeline.shards.shard_set import ShardSet
from pipeline.storage.atomic import read_json
from pipeline.storage.store import open_store
from pipeline.terrain.coverage import LOW_COVERAGE


@dataclass(frozen=True)
class PatchTable:
    """All extracted patches: (n,) site index, top-left pixel and role; numbers of dropped ones by reason.

    The role is the split, ``dropped`` or ``low coverage``.
    """

    site: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    role: NDArray[np.str_]
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Region:
    """The region's ``metrics.json`` and its picture (a PNG)."""

    metrics: Mapping[str, Any]
    quicklook: bytes


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows.

    Attributes
    ----------
    report, photometry : config sections. record : ``stages.json``. metrics : ``metrics.json``.
    examples : system -> patch id -> example. curves : stage -> lines of its ``metrics.jsonl``.
    shards : test shards. patches : all patches. terrain : path of the index. region : reconstruction.
    given : facts about given weights, if nothing was trained.
    """

    report: ReportSection
    photometry: PhotometrySection
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    examples: Mapping[str, Mapping[int, PatchExample]]
    curves: Mapping[str, list[dict[str, float]]]
    shards: ShardSet | None
    patches: PatchTable | None
    terrain: str | None
    region: Region | None
    given: Mapping[str, Any] | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration."""
        config: Mapping[str, Any] = self.record["config"]
        return config

    @property
    def primary(self) -> str:
        """Name of the primary system."""
        return str(self.metrics["primary"])

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Names of systems: untrained ones first, then each system's stages in the order of training."""
        systems = list(self.config["systems"])

        def place(name: str) -> tuple[int, int, str]:
            parsed = SystemName.parse(name)
            if parsed is None or parsed.system not in systems:
                return -1, 0, name
            return systems.index(parsed.system), BRIDGE_STAGES.index(parsed.stage), name

        return sorted(names, key=place)

    @property
    def ranked(self) -> list[int]:
        """Ids of the primary system's examples, from the smallest to the largest error of the mean."""
        found = self.examples.get(self.primary, {})
        return sorted(found, key=lambda i: (found[i].rmse_m(found[i].mean), i))

    @property
    def typical(self) -> int | None:
        """Id of the primary system's example with the median error."""
        ranked = self.ranked
        return ranked[len(ranked) // 2] if ranked else None


def read_data(section: ReportStage, inputs: Mapping[str, Any]) -> ReportData:
    """Read the rule's inputs.

    Parameters
    ----------
    section : of the stage: ``report``, ``photometry`` and, with given weights, facts about them.
    inputs : files by name, see `pipeline.report.page.write_report`; only ``stages`` and ``metrics`` are
        required.

    Raises
    ------
    ValueError
        If a file has not the schema or format that its role requires.
    """
    record = read_json(inputs["stages"], "stages/1")
    manifests = [path for path in _listed(inputs.get("manifests")) if _has_test(path)]
    shards = ShardSet(manifests[0], "test", verify=False) if manifests else None
    factor = int(record["config"]["patches"]["factor"])
    examples = [_examples(path, factor) for path in _listed(inputs.get("examples"))]
    curves = _listed(inputs.get("training"))
    return ReportData(
        report=section.report,
        photometry=section.photometry,
        record=record,
        metrics=read_json(inputs["metrics"], "metrics/1"),
        examples=dict(examples),
        curves={Path(path).parent.parent.name: _lines(path) for path in curves},
        shards=shards if shards is not None and len(shards) else None,
        patches=_patches(_listed(inputs.get("selected")), _listed(inputs.get("split"))),
        terrain=next(iter(_listed(inputs.get("terrain"))), None),
        region=_region(_listed(inputs.get("region"))),
        given=section.pretrained,
    )


def _listed(value: Any) -> list[str]:
    """One path, several, or none, as a list."""
    if not value:
        return []
    return [str(value)] if isinstance(value, (str, Path)) else [str(v) for v in value]


def _has_test(manifest: str) -> bool:
    return any(entry["split"] == "test" for entry in read_json(manifest, "manifest/1")["shards"])


def _examples(path: str, factor: int) -> tuple[str, dict[int, PatchExample]]:
    store = open_store(path, schema="examples")
    fields = {k: store[k].values.astype(float) for k in ("truth", "prior", "mean", "clone", "std")}
    found = {
        int(i): PatchExample(
            label=f"patch {int(i)}",
            pixel_m=float(store.attrs["pixel_m"]),
            factor=factor,
            **{name: values[row] for name, values in fields.items()},
        )
        for row, i in enumerate(store["id"].values)
    }
    return str(store.attrs["system"]), found


def _lines(path: str) -> list[dict[str, float]]:
    """Lines of a ``metrics.jsonl``."""
    try:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected one JSON object per line, found {error}") from None


def _patches(selected: list[str], split: list[str]) -> PatchTable | None:
    if not selected or not split:
        return None
    labels = read_json(split[0], "split/1")
    reasons: Counter[str] = Counter()
    rows: list[tuple[int, int, int]] = []
    roles: list[str] = []
    for path in selected:
        table = read_json(path, "selected/1")
        dropped = {LOW_COVERAGE: f"coverage below {table['min_share']:.3f}"}
        for patch in table["patches"]:
            rows.append((patch["site"], patch["row"], patch["col"]))
            if patch["kept"]:
                roles.append(labels["patches"].get(str(patch["id"]), "dropped"))
            else:
                roles.append("low coverage")
                reasons[dropped[patch["code"]]] += 1
    reasons.update({str(why): int(n) for why, n in labels.get("dropped", {}).items()})
    site, row, col = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return PatchTable(site, row, col, np.array(roles, dtype=np.str_), dict(sorted(reasons.items())))


def _region(files: list[str]) -> Region | None:
    named = {Path(path).name: Path(path) for path in files}
    if "metrics.json" not in named or "quicklook.png" not in named:
        return None
    png = named["quicklook.png"].read_bytes()
    if not png.startswith(b"\x89PNG"):
        raise ValueError(f"{named['quicklook.png']}: expected a PNG, found something else")
    return Region(read_json(named["metrics.json"], "region/1"), png)
