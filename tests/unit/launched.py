"""A training started as its rule starts it, in a process that can be signalled. Run as a script."""

from __future__ import annotations

import sys

from training_setups import FREE, bridge_stage

from pipeline.config.runtime import RuntimeSection
from pipeline.jobs.job import Work, job
from pipeline.training.launch import launch


def main(manifest: str, out: str, samples: str, runtime: str) -> None:
    """Train the aligned system for `samples` samples under a runtime section (JSON)."""
    section = bridge_stage(FREE, optimiser={"samples": int(samples)})
    work = Work(section, "key", RuntimeSection.model_validate_json(runtime))
    with job(None, cpu_threads=1):
        launch("bridge", work, None, manifest=manifest, vae=[], previous=[], out=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
