"""Adapter of rule `scenes_render`."""

from pipeline.config.stages.light import ScenesStage
from pipeline.illumination.scenes import render_tile
from pipeline.jobs.job import rule_job

with rule_job(snakemake, ScenesStage) as work:
    i = snakemake.input
    render_tile(i.patches, i.split, work.section, snakemake.output.scenes, snakemake.threads, *i.far)
