"""Adapter of rule `evaluation_floors`."""

from pipeline.config.runtime import RuntimeSection
from pipeline.evaluation.floors import evaluate_floors
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p), cpu_threads=p.threads):
    runtime = RuntimeSection.model_validate_json(p.runtime)
    i = snakemake.input
    evaluate_floors(p.section, i.manifest, i.vae[0], runtime, snakemake.output.part)
