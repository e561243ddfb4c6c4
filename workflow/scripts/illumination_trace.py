"""Adapter of rule `illumination_trace`."""

from pipeline.config.illumination import IlluminationSection
from pipeline.illumination.trace import trace_tile
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    illumination = IlluminationSection.model_validate_json(p.illumination)
    i, o = snakemake.input, snakemake.output
    workers = snakemake.threads
    trace_tile(i.patches, i.selected, p.size_px, illumination, o.visibility, workers, *i.far)
