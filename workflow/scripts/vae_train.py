"""Adapter of rule `vae_train`."""

from pipeline.config.runtime import RuntimeSection
from pipeline.provenance.record import job, stage_record
from pipeline.training.vae import train_vae

p = snakemake.params
with job(
    snakemake.log[0], p.level, **stage_record(p), run_record=snakemake.output.record, cpu_threads=p.threads
):
    runtime = RuntimeSection.model_validate_json(p.runtime)
    train_vae(p.section, p.key, snakemake.input.manifest, runtime, snakemake.output.model, p.lpips)
