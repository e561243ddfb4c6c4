"""Adapter of rule `illumination_trace`."""

from pipeline.config.stages.light import VisibilityStage
from pipeline.illumination.trace import trace_tile
from pipeline.jobs.job import rule_job

with rule_job(snakemake, VisibilityStage) as work:
    i, o, s = snakemake.input, snakemake.output, work.section
    workers = snakemake.threads
    trace_tile(i.patches, i.selected, s.size_px, s.illumination, o.visibility, workers, *i.far)
