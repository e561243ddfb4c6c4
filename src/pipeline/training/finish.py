"""A complete training: from the task to the files of curve and weights."""

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

    The last checkpoint stays until the workflow has recorded the stage as finished: if Snakemake is killed
    before, its next start deletes the outputs and requests them again. Only the first process of a group
    writes.

    Parameters
    ----------
    task : what is trained; its model loads the written weights before checkpoints are removed.
    section, ema, name : see `pipeline.training.loop.train`.
    config : content of ``config.json``, with the stage's ``key``.
    runtime : device and checkpoint interval.
    out : weights to write; the other files are beside it.
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
