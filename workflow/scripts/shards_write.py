"""Adapter of rule `shards_write`."""

from pipeline.config.stages.shards import ShardsStage
from pipeline.jobs.job import rule_job
from pipeline.shards.write import write_shard

with rule_job(snakemake, ShardsStage) as work:
    i = snakemake.input
    for split, path in snakemake.output.items():
        scenes = next(iter(i.scenes), None)
        write_shard(split, i.patches, i.visibility, i.split, work.section.factor, path, scenes_store=scenes)
