"""Adapter of rule `terrain_fetch`."""

from pipeline.jobs.job import job, stage_record
from pipeline.terrain.fetch.download import fetch

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    fetch(p.url, snakemake.output[0], p.sha256)
