"""Configuration of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.root import Config, load_config

ROOT = Path(__file__).resolve().parents[1]


def configured(*overlays: Path, **changes: Any) -> Config:
    """config/config.yaml with overlays and changed keys, merged as in the workflow."""
    content: dict[str, Any] = {}
    for path in (ROOT / "config" / "config.yaml", *overlays):
        update(content, yaml.safe_load(path.read_text(encoding="utf-8")))
    update(content, changes)
    return load_config(content)


def update(content: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Set keys at any depth, as Snakemake merges configs."""
    for key, value in changes.items():
        if isinstance(value, Mapping):
            if not isinstance(content.get(key), dict):
                content[key] = {}
            update(content[key], value)
        else:
            content[key] = value
