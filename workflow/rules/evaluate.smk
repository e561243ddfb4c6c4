# Calibration of the clones' spread on the validation split; evaluation of every predictor (bicubics, rivals,
# the VAE's floors, trained stages or the given weights) on the test split, merged into one metrics.json.
from pipeline.report.layout import FIGURES, FORMATS, TABLES

PARTS = f"{RESULTS}/evaluation/parts"


for _model in PLAN.calibrated:

    rule:
        name:
            f"calibration_{_model}"
        input:
            manifest=ancient(rules.shards_manifest.output.manifest),
            shards=ancient(rules.shards_manifest.input),
            model=ancient(PLAN.files_of(_model)["model"][0]),
            vae=ancient(PLAN.files_of(_model)["vae"]),
            track=ancient(track_of(f"calibration_{_model}")),
        output:
            calibration=PLAN[f"calibration_{_model}"].path("calibration.json"),
        log:
            log_of(f"calibration_{_model}"),
        benchmark:
            benchmark_of(f"calibration_{_model}")
        conda:
            "../../envs/environment.yaml"
        threads: THREADS
        resources:
            mem_mb=12000,
            runtime=240,
            gpu=1 if CONFIG.runtime.device != "cpu" else 0,
        params:
            **identity(f"calibration_{_model}"),
        script:
            "../scripts/calibration_fit.py"


for _model, _entry in PLAN.predictors.items():

    rule:
        name:
            f"evaluation_{_model}"
        input:
            manifest=ancient(rules.shards_manifest_test.output.manifest),
            shards=ancient(rules.shards_manifest_test.input),
            model=ancient(PLAN.files_of(_model)["model"]),
            vae=ancient(PLAN.files_of(_model)["vae"]),
            calibration=ancient(PLAN.files_of(_model)["calibration"]),
        output:
            part=f"{PARTS}/{_model}.json",
            # Examples for the report, of predictors with clones.
            examples=[f"{PARTS}/{_model}.examples.zarr.zip"] if _entry.draws else [],
        log:
            log_of(f"evaluation_{_model}"),
        benchmark:
            benchmark_of(f"evaluation_{_model}")
        conda:
            "../../envs/environment.yaml"
        threads: THREADS
        resources:
            mem_mb=12000,
            runtime=720,
            gpu=1 if _entry.files and CONFIG.runtime.device != "cpu" else 0,
        params:
            **identity(f"evaluation_{_model}"),
        script:
            "../scripts/evaluation_predict.py"


rule evaluation_collect:
    input:
        parts=[f"{PARTS}/{name}.json" for name in PLAN.predictors],
    output:
        metrics=f"{RESULTS}/evaluation/metrics.json",
        table=shown(f"{RESULTS}/evaluation/metrics.csv", "metrics", "Evaluation"),
        patches=f"{RESULTS}/evaluation/patches.csv",
    log:
        log_of("evaluation"),
    benchmark:
        benchmark_of("evaluation")
    localrule: True
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **identity("evaluation"),
    script:
        "../scripts/evaluation_collect.py"


rule evaluation:
    input:
        rules.evaluation_collect.output,
        rules.run_record.output,


# Tables, figures and the page of the comparison, from stored metrics files; nothing is scored.
KEPT = "docs/results"
COMPARED = sorted(path.as_posix() for path in Path(KEPT, "metrics").glob("*.json"))


rule comparison:
    input:
        metrics=COMPARED,
    output:
        tables=[
            f"{KEPT}/tables/{name}.{suffix}"
            for name in TABLES
            for suffix in FORMATS
            if suffix != "html"
        ],
        pages=[
            shown(f"{KEPT}/tables/{name}.html", "comparison", "Comparison")
            for name in TABLES
        ],
        figures=[
            shown(f"{KEPT}/figures/{name}.png", "comparison", "Comparison")
            for name in FIGURES
        ],
        page=f"{KEPT}.md",
    log:
        f"results/logs/comparison/{CONFIG.run}/log.txt",
    benchmark:
        f"results/logs/comparison/{CONFIG.run}/benchmark.tsv"
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        folder=untracked(KEPT),
        level=untracked(LEVEL),
    script:
        "../scripts/comparison_write.py"
