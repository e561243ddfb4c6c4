"""Adapter of rule `terrain_synthesize`."""

from pipeline.config.synthetic import SyntheticSection
from pipeline.jobs.job import job, stage_record
from pipeline.terrain.synthetic.world.world import synthesize

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    synthesize(
        SyntheticSection.model_validate_json(p.section), snakemake.output.dems, snakemake.output.counts
    )
