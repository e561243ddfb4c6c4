"""Adapter of rule `report_write`."""

from pipeline.jobs.job import job, stage_record
from pipeline.report.page import write_report

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    write_report(p.section, dict(snakemake.input.items()), snakemake.output.report)
