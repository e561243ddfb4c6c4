"""config/README.md says what the models say."""

from __future__ import annotations

from pathlib import Path

import yaml

from pipeline.config.reference import reference

ROOT = Path(__file__).resolve().parents[3]


def test_the_reference_is_current():
    found = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    assert found == reference(), "run: python -m pipeline.config.reference > config/README.md"


def test_every_leaf_of_the_config_file_is_described():
    text = reference()

    def leaves(value, path):
        if isinstance(value, dict) and value and path not in ("arcs.test", "evaluation.conditions"):
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}" if path else key)
        else:
            yield path

    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    missing = [
        leaf for leaf in leaves(config, "") if not leaf.startswith("bridge.") and f"`{leaf}`" not in text
    ]
    assert missing == []


def test_no_key_lacks_a_meaning():
    rows = [line.split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    without = [row[0] for row in rows if row[-1].strip(" |") == "" and not row[0].endswith("seed`")]
    assert without == []
