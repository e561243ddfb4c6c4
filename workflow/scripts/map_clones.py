"""Adapter of rules `map_clones_first`, `map_clones` and `map_clones_all`."""

from pipeline.config.stages.maps import ClonesStage
from pipeline.jobs.job import rule_job
from pipeline.maps.windows import sample_tile

with rule_job(snakemake, ClonesStage) as work:
    tile, inputs = int(snakemake.wildcards.tile), dict(snakemake.input.items())
    sample_tile(work.section, tile, inputs, work.runtime, snakemake.output[0])
