"""Adapter of rule `region_reconstruct`."""

from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.region import RegionStage
from pipeline.jobs.job import job, stage_record
from pipeline.region.reconstruct import reconstruct

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p), cpu_threads=p.threads):
    runtime = RuntimeSection.model_validate_json(p.runtime)
    section = RegionStage.model_validate_json(p.section)
    reconstruct(section, dict(snakemake.input.items()), runtime, dict(snakemake.output.items()), key=p.key)
