"""Adapter of rule `map_first`."""

from pipeline.config.stages.maps import BlendStage
from pipeline.jobs.job import rule_job
from pipeline.maps.first import first_reconstruction

with rule_job(snakemake, BlendStage) as work:
    first_reconstruction(work.section, dict(snakemake.input.items()), snakemake.output[0])
