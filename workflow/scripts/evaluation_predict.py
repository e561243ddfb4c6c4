"""Adapter of the rules `evaluation_<name>`."""

from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation.stage import evaluate
from pipeline.jobs.job import job, stage_record

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p), cpu_threads=p.threads):
    i, o = snakemake.input, snakemake.output
    files = {"model": list(i.model), "vae": list(i.vae), "calibration": list(i.calibration)}
    section = PredictorStage.model_validate_json(p.section)
    runtime = RuntimeSection.model_validate_json(p.runtime)
    evaluate(section, i.manifest, files, runtime, o.part, *o[1:])
