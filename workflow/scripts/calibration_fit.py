"""Adapter of rule `calibration_fit`."""

from pipeline.calibration.stage import calibrate_system
from pipeline.config.stages.calibration import CalibrationStage
from pipeline.jobs.job import rule_job

with rule_job(snakemake, CalibrationStage) as work:
    i, o = snakemake.input, snakemake.output
    files = i.manifest, i.model, list(i.vae)
    calibrate_system(work.section, *files, work.runtime, o.calibration, list(i.track))
