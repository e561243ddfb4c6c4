"""Adapter of rule `ephemeris`."""

from pipeline.config.stages.light import EphemerisStage
from pipeline.illumination.ephemeris import write_track
from pipeline.jobs.job import rule_job

with rule_job(snakemake, EphemerisStage) as work:
    write_track(list(snakemake.input.kernels), work.section.ephemeris, snakemake.output.track)
