"""Adapter of rules `map_images_first` and `map_images`."""

from pipeline.config.stages.maps import PrepareStage
from pipeline.jobs.job import rule_job
from pipeline.maps.prepare import prepare_chunk

with rule_job(snakemake, PrepareStage) as work:
    prepare_chunk(
        work.section, int(snakemake.wildcards.chunk), dict(snakemake.input.items()), snakemake.output[0]
    )
