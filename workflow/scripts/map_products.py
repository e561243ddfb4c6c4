"""Adapter of rule `map_products`."""

from pipeline.config.stages.maps import MapStage
from pipeline.jobs.job import rule_job
from pipeline.maps.make import make_map

with rule_job(snakemake, MapStage) as work:
    i, o = dict(snakemake.input.items()), dict(snakemake.output.items())
    make_map(work.section, i, o, key=work.key)
