"""Adapter of rule `terrain_index`."""

from pipeline.config.stages.terrain import TerrainStage
from pipeline.jobs.job import rule_job
from pipeline.terrain.index import index_terrain

with rule_job(snakemake, TerrainStage) as work:
    i, o = snakemake.input, snakemake.output
    index_terrain(i.dems, i.counts, work.section, o.terrain)
