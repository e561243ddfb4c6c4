"""Adapter of rule `evaluation_collect`."""

from pipeline.config.stages.evaluation import CollectStage
from pipeline.evaluation.collect import collect_metrics
from pipeline.jobs.job import rule_job

with rule_job(snakemake, CollectStage) as work:
    o = snakemake.output
    collect_metrics(work.section, snakemake.input.parts, o.metrics, o.table, o.patches)
