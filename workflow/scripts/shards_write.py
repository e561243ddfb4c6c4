"""Adapter of rule `shards_write`."""

from pipeline.jobs.job import job, stage_record
from pipeline.shards.write import write_shard

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    i = snakemake.input
    for split, path in snakemake.output.items():
        write_shard(split, i.patches, i.visibility, i.split, p.factor, path)
