"""Adapter of rule `shards_manifest`."""

from pipeline.config.shards import ShardsSection
from pipeline.jobs.job import job, stage_record
from pipeline.shards.manifest import write_manifest

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p), run_record=snakemake.output.record):
    shards = ShardsSection.model_validate_json(p.shards)
    write_manifest(dict(snakemake.input.items()), shards, snakemake.output.manifest)
