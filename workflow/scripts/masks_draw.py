"""Adapter of rule `masks_draw`."""

from pipeline.config.stages.light import MasksStage
from pipeline.illumination.masks import draw_masks
from pipeline.jobs.job import rule_job

with rule_job(snakemake, MasksStage) as work:
    i, o = snakemake.input, snakemake.output
    draw_masks(i.arcs, work.section, o.masks, *i.patches)
