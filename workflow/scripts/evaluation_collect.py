"""Adapter of rule `evaluation_collect`."""

from pipeline.evaluation.collect import collect_metrics
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    i, o = snakemake.input, snakemake.output
    collect_metrics(p.section, i.baselines, i.floors, i.systems, o.metrics, o.table, o.patches)
