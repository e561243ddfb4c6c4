"""Adapter of rule `terrain_far`."""

from pipeline.illumination.far_blocks import write_far
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    write_far(snakemake.input.terrain, p.cell_px, snakemake.output.far)
