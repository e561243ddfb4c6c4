"""Adapter of rule `shards_write_test`."""

from pipeline.jobs.job import job, stage_record
from pipeline.shards.radiance import image_writer
from pipeline.shards.write import write_shard

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    i, out = snakemake.input, snakemake.output.test
    images = image_writer(p.photometry)
    write_shard("test", i.patches, i.visibility, i.split, p.factor, out, i.arcs, i.masks, images)
