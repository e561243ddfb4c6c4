"""Adapter of rule `patches_extract`."""

from pipeline.config.patches import PatchesSection
from pipeline.jobs.job import job, stage_record
from pipeline.terrain.extract import extract_tile

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    patches = PatchesSection.model_validate_json(p.patches)
    i = snakemake.input
    extract_tile(i.terrain, patches, int(snakemake.wildcards.tile), snakemake.output.patches)
