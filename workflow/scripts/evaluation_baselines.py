"""Adapter of rule `evaluation_baselines`."""

from pipeline.evaluation.baselines import evaluate_baselines
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p), cpu_threads=p.threads):
    evaluate_baselines(p.section, snakemake.input.manifest, snakemake.output.part)
