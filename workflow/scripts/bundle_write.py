"""Adapter of rule `bundle_write`."""

from pipeline.bundle.write import write_bundle
from pipeline.config.stages.report import BundleStage
from pipeline.jobs.job import rule_job

with rule_job(snakemake, BundleStage):
    write_bundle(dict(snakemake.input.items()), snakemake.output.bundle)
