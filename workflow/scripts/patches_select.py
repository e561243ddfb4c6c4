"""Adapter of rule `patches_select`."""

from pipeline.config.coverage import CoverageSection
from pipeline.jobs.job import job, stage_record
from pipeline.terrain.coverage import select_tile

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    coverage = CoverageSection.model_validate_json(p.coverage)
    select_tile(snakemake.input.patches, coverage, snakemake.output.selected)
