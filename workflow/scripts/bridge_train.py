"""Adapter of rule `bridge_train`."""

from pipeline.config.stages.training import BridgeStage
from pipeline.jobs.job import rule_job
from pipeline.training.launch import launch

i, o = snakemake.input, snakemake.output
with rule_job(snakemake, BridgeStage, o.record) as work:
    files = {name: list(i[name]) for name in ("vae", "previous", "track", "init")}
    launch("bridge", work, snakemake.log[0], manifest=i.manifest, out=o.model, **files)
