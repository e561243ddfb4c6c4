"""The config that a benchmark runs under."""

from __future__ import annotations

from pathlib import Path

import yaml
from snakemake.utils import update_config

from pipeline.config.root import Config, load_config

ROOT = Path(__file__).resolve().parents[1]


def configured(path: Path) -> Config:
    """config/config.yaml with an overlay, as the workflow reads it."""
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    update_config(content, yaml.safe_load(path.read_text(encoding="utf-8")))
    return load_config(content)
