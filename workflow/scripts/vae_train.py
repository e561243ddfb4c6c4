"""Adapter of rule `vae_train`."""

from pipeline.config.stages.training import VaeStage
from pipeline.jobs.job import rule_job
from pipeline.training.launch import launch

i, o = snakemake.input, snakemake.output
with rule_job(snakemake, VaeStage, o.record) as work:
    lpips = snakemake.params.lpips
    launch("vae", work, snakemake.log[0], manifest=i.manifest, out=o.model, lpips_weights=lpips)
