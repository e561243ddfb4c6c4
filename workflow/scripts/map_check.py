"""Adapter of rule `map_check`."""

from pipeline.config.stages.maps import CheckStage
from pipeline.jobs.job import rule_job
from pipeline.maps.check import check_map

with rule_job(snakemake, CheckStage) as work:
    check_map(work.section, dict(snakemake.input.items()), dict(snakemake.output.items()))
