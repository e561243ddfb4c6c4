"""Adapter of rule `evaluation_collect`."""

from pipeline.config.stages.evaluation import CollectStage
from pipeline.evaluation.collect import collect_metrics
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    o = snakemake.output
    section = CollectStage.model_validate_json(p.section)
    collect_metrics(section, snakemake.input.parts, o.metrics, o.table, o.patches)
