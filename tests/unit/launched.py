"""A training started as its rule starts it, in a process that can be signalled. Run as a script."""

from __future__ import annotations

import json
import sys

from training_setups import FREE, content

from pipeline.jobs.job import job
from pipeline.training.launch import launch


def main(manifest: str, out: str, samples: str, runtime: str) -> None:
    """Train the aligned system for `samples` samples under a runtime section (JSON)."""
    section = content(FREE)
    section["bridge"]["optimiser"]["samples"] = int(samples)
    with job(None, cpu_threads=1):
        launch(
            "bridge",
            runtime,
            None,
            "INFO",
            1,
            section=json.dumps(section),
            key="key",
            manifest=manifest,
            vae=[],
            previous=[],
            out=out,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
