"""Adapter of rule `arcs_select`."""

from pipeline.config.stages.light import ArcsStage
from pipeline.illumination.arcs import select_arcs
from pipeline.jobs.job import rule_job

with rule_job(snakemake, ArcsStage) as work:
    i, o = snakemake.input, snakemake.output
    more = list(i.patches), list(i.track)
    select_arcs(i.selected, i.split, i.visibility, work.section, o.arcs, *more)
