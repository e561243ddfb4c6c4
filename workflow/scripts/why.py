"""Adapter of rule `why`."""

from pathlib import Path

from pipeline.jobs.job import job, stage_record
from pipeline.provenance.why import tell

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    print(tell(p.record, Path.cwd()))
