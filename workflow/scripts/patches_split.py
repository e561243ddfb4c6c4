"""Adapter of rule `patches_split`."""

from pipeline.config.patches import PatchesSection
from pipeline.config.split import SplitSection
from pipeline.jobs.job import job, stage_record
from pipeline.terrain.split import split_patches

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    patches = PatchesSection.model_validate_json(p.patches)
    split = SplitSection.model_validate_json(p.split)
    split_patches(snakemake.input.selected, patches, split, snakemake.output.split)
