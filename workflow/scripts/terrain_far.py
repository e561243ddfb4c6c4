"""Adapter of rule `terrain_far`."""

from pipeline.config.stages.light import FarStage
from pipeline.illumination.far_blocks import write_far
from pipeline.jobs.job import rule_job

with rule_job(snakemake, FarStage) as work:
    i, s = snakemake.input, work.section
    write_far(i.terrain, s.far_cell_px, snakemake.output.far, list(i.coarse), s.reach_m)
