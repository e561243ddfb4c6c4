"""Adapter of the rules `evaluation_<name>`."""

from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation.stage import evaluate
from pipeline.jobs.job import rule_job

with rule_job(snakemake, PredictorStage) as work:
    i, o = snakemake.input, snakemake.output
    files = {"model": list(i.model), "vae": list(i.vae), "calibration": list(i.calibration)}
    evaluate(work.section, i.manifest, files, work.runtime, o.part, *o[1:])
