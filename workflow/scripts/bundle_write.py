"""Adapter of rule `bundle_write`."""

from pipeline.bundle.write import write_bundle
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    write_bundle(dict(snakemake.input.items()), snakemake.output.bundle)
