"""Adapter of rule `run_record`."""

from pathlib import Path

from pipeline.jobs.job import job
from pipeline.provenance.run_folder import write_run

p = snakemake.params
with job(snakemake.log[0], p.level):
    write_run(p.record, Path(snakemake.output.stages))
