"""Adapter of rule `shards_write_test`."""

from pipeline.config.stages.shards import ShardsStage
from pipeline.jobs.job import rule_job
from pipeline.shards.radiance import image_writer
from pipeline.shards.write import write_shard

with rule_job(snakemake, ShardsStage) as work:
    i, out, s = snakemake.input, snakemake.output.test, work.section
    images, scenes = image_writer(s.radiance), next(iter(i.scenes), None)
    write_shard("test", i.patches, i.visibility, i.split, s.factor, out, i.arcs, i.masks, images, scenes)
