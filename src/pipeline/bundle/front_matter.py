"""The YAML block at the head of a model card: metadata that the Hugging Face Hub reads.

Fields as described in https://huggingface.co/docs/hub/model-cards. Scores are in ``model-index``: one result
per condition and one metric per column of the card's table, rounded as in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_TASK = {"type": "image-to-image", "name": "Super-resolution of elevation models"}
_TAGS = ("moon", "digital-elevation-model", "super-resolution", "safetensors")
# Column of the scores -> type and name of the metric.
_METRICS = {
    "rmse_m": ("rmse", "RMSE (m)"),
    "slope_deg": ("slope-error", "Slope error (deg)"),
    "spread_skill_fair": ("spread-skill", "Spread / skill"),
    "crps_fair_m": ("crps", "CRPS (m)"),
    "rmse_vs_bicubic": ("rmse-ratio", "RMSE / RMSE of bicubic"),
}


def front_matter(
    name: str, kind: str, rows: Mapping[str, Mapping[str, Any]], run: str, synthetic: bool
) -> str:
    """The lines between the two ``---``, without these.

    Parameters
    ----------
    name : of the model. kind : ``kind`` in its config, e.g. ``bridge``, ``vae`` or ``rival``.
    rows : condition -> scores (metres, degrees and ratios); absent columns are left out. Without rows there
        is no ``model-index``.
    run : name of the run that scored the model. synthetic : whether its terrain is generated.
    """
    data: dict[str, Any] = {"license": "apache-2.0", "library_name": "lunar-bridge"}
    # An autoencoder is a part of other models and has no task of its own.
    if kind != "vae":
        data["pipeline_tag"] = _TASK["type"]
    data["tags"] = [*_TAGS, kind]
    results = [
        {
            "task": _TASK,
            "dataset": {
                "name": f"Run {run}, {label}",
                "type": "synthetic" if synthetic else "dem",
                "config": label,
                "split": "test",
            },
            "metrics": [
                {"type": metric, "name": title, "value": float(f"{row[column]:.3g}")}
                for column, (metric, title) in _METRICS.items()
                if column in row
            ],
        }
        for label, row in rows.items()
    ]
    if results:
        data["model-index"] = [{"name": name, "results": results}]
    text = yaml.dump(
        data, Dumper=_Whole, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )
    return text.rstrip("\n")


class _Whole(yaml.SafeDumper):
    """Repeats equal values instead of writing YAML anchors, which not every reader of cards supports."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
