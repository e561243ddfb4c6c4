"""Adapter of rule `terrain_fetch`."""

from pipeline.provenance.record import job, stage_record
from pipeline.terrain.download import fetch

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    fetch(p.url, snakemake.output[0], p.sha256)
