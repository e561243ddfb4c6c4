"""Adapter of rule `why`."""

from pathlib import Path

from pipeline.jobs.job import job
from pipeline.provenance.why import tell

p = snakemake.params
with job(snakemake.log[0], p.level):
    print(tell(p.record, Path.cwd()))
