"""Adapter of rule `report_write`."""

from pipeline.evaluation.report import write_report
from pipeline.provenance.record import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    write_report(p.section, dict(snakemake.input.items()), snakemake.output.report)
