"""Stage ``report``: the run as one self-contained HTML page.

Style and pictures are embedded, and nothing depends on time or place: equal inputs give equal bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.stages.report import ReportStage
from pipeline.report.data import ReportData, read_data
from pipeline.report.html import Part, fill
from pipeline.report.pictures import (
    hero,
    images_part,
    masks_part,
    patches_part,
    suns_part,
    terrain_part,
    training_part,
)
from pipeline.report.tables import headline, provenance_part, region_part, scores_part, weights_part
from pipeline.storage.atomic import write_text

logger = logging.getLogger(__name__)


def write_report(section: ReportStage, inputs: Mapping[str, Any], out: Path | str) -> None:
    """Write the report as one self-contained HTML file, atomically.

    Parameters
    ----------
    section : of the stage: ``report``, ``photometry`` and, with given weights, facts about them.
    inputs : the rule's named inputs. Required: ``stages`` (stages.json) and ``metrics`` (metrics.json).
        Optional: ``examples`` (stores), ``training`` (metrics.jsonl of every training), ``manifests``,
        ``split``, ``selected``, ``terrain`` (index) and ``region`` (with metrics.json and quicklook.png).
    out : HTML file to write.

    Raises
    ------
    ValueError
        If an input has not the schema or format of its role; the message names the file.
    """
    data = read_data(section, inputs)
    text = render(data)
    write_text(out, text)
    logger.info("report: %.1f MB", len(text.encode()) / 1e6)


def render(data: ReportData) -> str:
    """The page as HTML."""
    config, record = data.config, data.record
    first = data.examples.get(data.primary, {})
    pixel = next(iter(first.values())).pixel_m if first else config["inputs"]["pixel_m"]
    factor = config["patches"]["factor"]
    scale = f"{factor * pixel:g} m to {pixel:g} m" if pixel else f"{factor} times finer"
    report = record["stages"].get("report", {})
    return fill(
        "page.html",
        title=f"Run {record['run']}: lunar DEM super-resolution",
        lead=f"{data.primary}, {scale}, one reconstruction and its headline numbers on the test split",
        first=Part("top", "Top", hero(data) + headline(data)),
        parts=[
            terrain_part(data),
            images_part(data),
            suns_part(data),
            masks_part(data),
            training_part(data) if data.given is None else weights_part(data),
            patches_part(data),
            scores_part(data),
            region_part(data),
            provenance_part(data),
        ],
        foot=f"Report of run {record['run']}, stage key {report.get('key', 'unknown')}.",
    )
