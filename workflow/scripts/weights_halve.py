"""Adapter of the rules `weights_<name>`."""

from pathlib import Path

from pipeline.jobs.job import job
from pipeline.models.halved import halve_system

p = snakemake.params
with job(snakemake.log[0], p.level):
    halve_system(*p.files, Path(snakemake.output.model).parent)
