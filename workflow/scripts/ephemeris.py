"""Adapter of rule `ephemeris`."""

from pipeline.config.ephemeris import EphemerisSection
from pipeline.illumination.ephemeris import write_track
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    section = EphemerisSection.model_validate_json(p.ephemeris)
    write_track(list(snakemake.input.kernels), section, snakemake.output.track)
