"""Adapter of rule `patches_extract`."""

from pipeline.config.stages.terrain import PatchesStage
from pipeline.jobs.job import rule_job
from pipeline.terrain.extract import extract_tile

with rule_job(snakemake, PatchesStage) as work:
    tile = int(snakemake.wildcards.tile)
    extract_tile(snakemake.input.terrain, work.section, tile, snakemake.output.patches)
