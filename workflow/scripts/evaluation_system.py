"""Adapter of rule `evaluation_system`."""

from pipeline.config.runtime import RuntimeSection
from pipeline.evaluation.systems import evaluate_system
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p), cpu_threads=p.threads):
    runtime = RuntimeSection.model_validate_json(p.runtime)
    i, o = snakemake.input, snakemake.output
    more = list(i.vae), list(i.calibration)
    evaluate_system(p.section, i.manifest, i.model, *more, runtime, o.part, o.examples)
