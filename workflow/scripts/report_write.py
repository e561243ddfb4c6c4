"""Adapter of rule `report_write`."""

from pipeline.config.stages.report import ReportStage
from pipeline.jobs.job import rule_job
from pipeline.report.page import write_report

with rule_job(snakemake, ReportStage) as work:
    write_report(work.section, dict(snakemake.input.items()), snakemake.output.report)
