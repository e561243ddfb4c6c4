"""A whole training: from the task to history and weights on disk, with one checkpoint left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.config.runtime import RuntimeSection
from pipeline.config.training import OptimiserSection
from pipeline.jobs.device import pick_device
from pipeline.models.files import load_state, save_model
from pipeline.storage.atomic import write_text
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.loop import Task, train


def train_and_write(
    task: Task,
    section: OptimiserSection,
    ema: float,
    config: dict[str, Any],
    runtime: RuntimeSection,
    out: Path | str,
    name: str,
) -> None:
    """Train; write ``metrics.jsonl``, the weights and their ``config.json``; remove the older checkpoints.

    The last one stays until the workflow has noted that the stage is done: a Snakemake that was killed before
    has its successor delete the outputs and ask for them again. Only the first process of a group writes.

    Parameters
    ----------
    task : what is trained; in the end its model loads what was written, before checkpoints go.
    section, ema, name : see `pipeline.training.loop.train`.
    config : what the weights mean, with the stage's ``key``.
    runtime : device and checkpoint interval.
    out : weights to write; the others go beside it.
    """
    out = Path(out)
    folder, device = out.parent / "checkpoints", pick_device(runtime.device)
    outcome = train(
        task, section, ema=ema, key=config["key"], folder=folder, device=device,
        checkpoint_minutes=runtime.checkpoint_minutes, name=name,
    )  # fmt: skip
    if not outcome.first:
        return
    lines = (json.dumps(line, sort_keys=True) + "\n" for line in outcome.history)
    write_text(out.with_name("metrics.jsonl"), "".join(lines))
    save_model(out, outcome.state, config)
    load_state(out, task.modules["model"])
    Checkpoints(folder, config["key"]).keep_newest()
