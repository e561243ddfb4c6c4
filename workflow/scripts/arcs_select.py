"""Adapter of rule `arcs_select`."""

from pipeline.config.arcs import ArcsSection
from pipeline.illumination.arcs import select_arcs
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    arcs = ArcsSection.model_validate_json(p.arcs)
    i = snakemake.input
    out = snakemake.output.arcs
    select_arcs(i.selected, i.split, i.visibility, arcs, out, list(i.patches), list(i.track))
