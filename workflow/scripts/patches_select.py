"""Adapter of rule `patches_select`."""

from pipeline.config.patches import CoverageSection
from pipeline.provenance.record import job, stage_record
from pipeline.terrain.coverage import select_tile

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    coverage = CoverageSection.model_validate_json(p.coverage)
    select_tile(snakemake.input.patches, coverage, snakemake.output.selected)
