"""Adapter of the rules `rival_train_<name>`."""

from pipeline.config.stages.training import RivalStage
from pipeline.jobs.job import rule_job
from pipeline.training.launch import launch

i, o = snakemake.input, snakemake.output
with rule_job(snakemake, RivalStage, o.record) as work:
    launch("rival", work, snakemake.log[0], manifest=i.manifest, out=o.model, track=list(i.track))
