"""The end of every training: history and weights on disk, checkpoints gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.atomic import write_text
from pipeline.models.files import load_state, save_model
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.loop import Outcome


def finish(outcome: Outcome, config: dict[str, Any], module: nn.Module, out: Path | str) -> None:
    """Write ``metrics.jsonl``, the weights and their ``config.json``, then remove the checkpoints.

    Parameters
    ----------
    outcome : of the training; only its first process writes.
    config : what the weights mean.
    module : of the same architecture; it loads what was written, before the checkpoints go.
    out : weights to write; the others go beside it.
    """
    if not outcome.first:
        return
    out = Path(out)
    lines = (json.dumps(line, sort_keys=True) + "\n" for line in outcome.history)
    write_text(out.with_name("metrics.jsonl"), "".join(lines))
    save_model(out, outcome.state, config)
    load_state(out, module)
    Checkpoints(checkpoint_folder(out), config["key"]).clear()


def checkpoint_folder(out: Path | str) -> Path:
    """Where the checkpoints of a training that writes `out` live."""
    return Path(out).parent / "checkpoints"
