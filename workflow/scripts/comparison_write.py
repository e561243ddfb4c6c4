"""Adapter of rule `comparison`."""

from pipeline.jobs.job import job
from pipeline.report.comparison import write_comparison

with job(snakemake.log[0], snakemake.params.level):
    write_comparison(snakemake.params.folder)
