"""Adapter of rule `map_site`."""

from pipeline.config.stages.maps import SiteStage
from pipeline.jobs.job import rule_job
from pipeline.maps.site import look_at_site

with rule_job(snakemake, SiteStage) as work:
    look_at_site(work.section, dict(snakemake.input.items()), dict(snakemake.output.items()))
