"""Adapter of rule `terrain_index`."""

from pipeline.config.inputs import InputsSection
from pipeline.jobs.job import job, stage_record
from pipeline.terrain.index import index_terrain

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    inputs = InputsSection.model_validate_json(p.inputs)
    index_terrain(snakemake.input.dems, snakemake.input.counts, inputs, snakemake.output.terrain)
