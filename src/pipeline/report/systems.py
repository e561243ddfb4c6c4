"""Rows of the comparison of systems, read from metrics files, and which of them can support a claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.storage.atomic import read_json

Row = Mapping[str, Any]
Rows = Mapping[str, Row]
#: Expected rows: name in the metrics, title, whether it is learned.
SYSTEMS: dict[str, tuple[str, bool]] = {
    "bicubic": ("bicubic of the patch", False),
    "bicubic_window": ("bicubic of the window", False),
    "kriging": ("kriging of spots; of cells the window's bicubic", False),
    "photometric": ("photometric stereo, closed form", False),
    "sfs": ("shape from shading, from the bicubic", False),
    "hybrid": ("shape from shading, from our mean", False),
    "regression": ("regression with our trunk", True),
    "guided": ("guided network (FDKN)", True),
    "gan": ("GAN (ESRGAN-like)", True),
    "siran": ("SIRAN", True),
    "sirannoguide": ("SIRAN, no guide, 6,000 samples", True),
    "siranungated": ("SIRAN, ungated guide, 6,000 samples", True),
    "sirangated": ("SIRAN, gated guide, 6,000 samples", True),
    "siranpolarised": ("SIRAN, polarised attention, 6,000 samples", True),
    "siranshort": ("SIRAN, all, 6,000 samples", True),
    "yasuda": ("stochastic interpolant (SM)", True),
    "diffusion": ("diffusion (DM)", True),
    "published": ("published bridge", True),
    "publishedresidual": ("published bridge, VAE of residuals", True),
    "pretrained": ("our bridge", True),
    "moon": ("our bridge for real light and altimetry", True),
}
TEST, VALIDATION = "test", "validation"
BASE = "bicubic_window"


@dataclass(frozen=True)
class Results:
    """Metrics files by label.

    Attributes
    ----------
    metrics : label (the file's name without suffix) -> content of a ``metrics.json``.
    challenge : challenge set and a priori DEM -> rows.
    """

    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    challenge: Mapping[str, Rows] = field(default_factory=dict)

    def systems(self, label: str, condition: str = "main") -> Rows:
        """Rows of a metrics file under a condition; bicubics have the same row under all conditions."""
        content = self.metrics.get(label)
        if content is None:
            return {}
        main: Rows = content["systems"]
        if condition == "main":
            return main
        found: Rows = content["conditions"].get(condition, {"systems": {}})["systems"]
        once = {name: main[name] for name in ("bicubic", BASE) if name in main}
        return {**once, **found} if found else {}

    @property
    def conditions(self) -> list[str]:
        """Names of the test's conditions, main first."""
        named = self.metrics.get(TEST, {"conditions": {}})["conditions"]
        return ["main", *sorted(name for name in named if name != "main")]

    @property
    def names(self) -> list[str]:
        """Names of all rows: the expected ones, then all others that were scored."""
        return list(dict.fromkeys((*SYSTEMS, *self.systems(TEST))))

    def state(self, name: str) -> str:
        """Why a row supports no claim; empty if it does.

        A learned rival must beat `BASE` on the validation sites.
        """
        learned = SYSTEMS.get(name, ("", True))[1]
        if name not in self.systems(TEST):
            return "not yet trained" if learned and name != "pretrained" else "not yet scored"
        if not learned:
            return ""
        rows = self.systems(VALIDATION)
        if name not in rows or BASE not in rows:
            return "not validated"
        return "" if rows[name]["rmse_m"] < rows[BASE]["rmse_m"] else "not converged"


def title(name: str) -> str:
    """Title of a row in tables: its name in the metrics, and a description."""
    return f"{name}: {SYSTEMS[name][0]}" if name in SYSTEMS else name


def read_results(folder: Path | str) -> Results:
    """Read all metrics files of a folder.

    Raises
    ------
    ValueError
        If a file is no metrics file.
    """
    metrics: dict[str, Mapping[str, Any]] = {}
    challenge: dict[str, Rows] = {}
    for path, content in _files(Path(folder)):
        schema = content.get("schema")
        if schema == "metrics/1":
            metrics[path.stem] = content
        elif schema == "challenge/1":
            challenge |= content["sets"]
        else:
            raise ValueError(f"{path}: expected schema metrics/1 or challenge/1, found {schema!r}")
    return Results(metrics, challenge)


def _files(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path in sorted(folder.glob("*.json")):
        yield path, read_json(path)
