"""Adapter of rule `patches_select`."""

from pipeline.config.coverage import CoverageSection
from pipeline.jobs.job import rule_job
from pipeline.terrain.coverage import select_tile

with rule_job(snakemake, CoverageSection) as work:
    select_tile(snakemake.input.patches, work.section, snakemake.output.selected)
