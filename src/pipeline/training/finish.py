"""The end of every training: history and weights on disk, one checkpoint left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.models.files import load_state, save_model
from pipeline.storage.atomic import write_text
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.loop import Outcome


def finish(outcome: Outcome, config: dict[str, Any], module: nn.Module, out: Path | str) -> None:
    """Write ``metrics.jsonl``, the weights and their ``config.json``, then remove the older checkpoints.

    The last one stays until the workflow has noted that the stage is done: a Snakemake that was killed before
    has its successor delete the outputs and ask for them again.

    Parameters
    ----------
    outcome : of the training; only its first process writes.
    config : what the weights mean.
    module : of the same architecture; it loads what was written, before checkpoints go.
    out : weights to write; the others go beside it.
    """
    if not outcome.first:
        return
    out = Path(out)
    lines = (json.dumps(line, sort_keys=True) + "\n" for line in outcome.history)
    write_text(out.with_name("metrics.jsonl"), "".join(lines))
    save_model(out, outcome.state, config)
    load_state(out, module)
    Checkpoints(checkpoint_folder(out), config["key"]).keep_newest()


def checkpoint_folder(out: Path | str) -> Path:
    """Where the checkpoints of a training that writes `out` live."""
    return Path(out).parent / "checkpoints"
