"""Adapter of rule `terrain_fetch`."""

from pipeline.jobs.job import job
from pipeline.terrain.fetch.download import fetch

p = snakemake.params
with job(snakemake.log[0], p.level):
    fetch(p.url, snakemake.output[0], p.sha256)
