"""Adapter of rule `region_reconstruct`."""

from pipeline.config.stages.region import RegionStage
from pipeline.jobs.job import rule_job
from pipeline.region.reconstruct import reconstruct

with rule_job(snakemake, RegionStage) as work:
    i, o = dict(snakemake.input.items()), dict(snakemake.output.items())
    reconstruct(work.section, i, work.runtime, o, key=work.key)
