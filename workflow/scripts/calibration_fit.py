"""Adapter of rule `calibration_fit`."""

from pipeline.calibration.stage import calibrate_system
from pipeline.config.runtime import RuntimeSection
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p), cpu_threads=p.threads):
    runtime = RuntimeSection.model_validate_json(p.runtime)
    i, o = snakemake.input, snakemake.output
    calibrate_system(p.section, i.manifest, i.model, list(i.vae), runtime, o.calibration, list(i.track))
