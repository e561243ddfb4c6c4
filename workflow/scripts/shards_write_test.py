"""Adapter of rule `shards_write_test`."""

from pipeline.provenance.record import job, stage_record
from pipeline.shards.write import write_shard

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    i = snakemake.input
    write_shard("test", i.patches, i.visibility, i.split, p.factor, snakemake.output.test, i.arcs, i.masks)
