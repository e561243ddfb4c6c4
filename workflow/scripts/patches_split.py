"""Adapter of rule `patches_split`."""

from pipeline.config.stages.terrain import SplitStage
from pipeline.jobs.job import rule_job
from pipeline.terrain.split import split_patches

with rule_job(snakemake, SplitStage) as work:
    i = snakemake.input
    split_patches(i.selected, work.section, snakemake.output.split, i.index)
