"""Adapter of rule `shards_manifest`."""

from pipeline.config.stages.shards import ManifestStage
from pipeline.jobs.job import rule_job
from pipeline.shards.manifest import write_manifest

with rule_job(snakemake, ManifestStage, snakemake.output.record) as work:
    write_manifest(dict(snakemake.input.items()), work.section, snakemake.output.manifest)
