"""Adapter of rule `bridge_train`."""

from pipeline.jobs.job import job, stage_record
from pipeline.training.launch import launch

p, i, o, log = snakemake.params, snakemake.input, snakemake.output, snakemake.log[0]
with job(log, p.level, **stage_record(p), run_record=o.record, cpu_threads=p.threads):
    work = {"section": p.section, "key": p.key, "manifest": i.manifest}
    files = {"vae": list(i.vae), "previous": list(i.previous), "track": list(i.track)}
    launch("bridge", p.runtime, log, p.level, p.threads, out=o.model, **work, **files)
