"""Adapter of rule `terrain_synthesize`."""

from pipeline.config.synthetic import SyntheticSection
from pipeline.jobs.job import rule_job
from pipeline.terrain.synthetic.world import synthesize

with rule_job(snakemake, SyntheticSection) as work:
    o = snakemake.output
    synthesize(work.section, o.dems, o.counts)
