"""Adapter of rule `weights`."""

from pathlib import Path

from pipeline.jobs.job import job
from pipeline.models.halved import halve_system

p = snakemake.params
with job(snakemake.log[0], p.level):
    for name, files in p.shipped.items():
        halve_system(*files, Path(p.folder, name))
