"""Adapter of rule `masks_draw`."""

from pipeline.config.masks import MasksSection
from pipeline.illumination.masks import draw_masks
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    masks = MasksSection.model_validate_json(p.masks)
    i = snakemake.input
    draw_masks(i.arcs, masks, p.size_px, snakemake.output.masks, *i.patches)
