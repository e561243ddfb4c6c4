"""Adapter of rule `bridge_train`."""

from pipeline.config.runtime import RuntimeSection
from pipeline.provenance.record import job, stage_record
from pipeline.training.bridge import train_bridge

p = snakemake.params
with job(
    snakemake.log[0], p.level, **stage_record(p), run_record=snakemake.output.record, cpu_threads=p.threads
):
    runtime = RuntimeSection.model_validate_json(p.runtime)
    i, o = snakemake.input, snakemake.output
    train_bridge(p.section, p.key, i.manifest, list(i.vae), list(i.previous), runtime, o.model, list(i.track))
