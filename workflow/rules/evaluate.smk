# How wide clones are spread, fitted on the validation split; evaluation on the test split: baselines, the VAE's floors, every trained stage or the given weights, then one
# metrics.json.
PARTS = f"{RESULTS}/evaluation/parts"


rule evaluation_baselines:
    input:
        manifest=ancient(rules.shards_manifest_test.output.manifest),
        shards=ancient(rules.shards_manifest_test.input),
    output:
        part=f"{PARTS}/baselines.json",
    log:
        log_of("evaluation_baselines"),
    benchmark:
        benchmark_of("evaluation_baselines")
    conda:
        "../../envs/environment.yaml"
    threads: THREADS
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        **identity("evaluation_baselines"),
        threads=untracked(THREADS),
        level=untracked(LEVEL),
    script:
        "../scripts/evaluation_baselines.py"


if PLAN.floor_vae:

    rule evaluation_floors:
        input:
            manifest=ancient(rules.shards_manifest_test.output.manifest),
            shards=ancient(rules.shards_manifest_test.input),
            vae=ancient(PLAN.floor_vae),
        output:
            part=f"{PARTS}/floors.json",
        log:
            log_of("evaluation_floors"),
        benchmark:
            benchmark_of("evaluation_floors")
        conda:
            "../../envs/environment.yaml"
        threads: THREADS
        resources:
            mem_mb=8000,
            runtime=120,
        params:
            **identity("evaluation_floors"),
            threads=untracked(THREADS),
            level=untracked(LEVEL),
        script:
            "../scripts/evaluation_floors.py"


for _model in PLAN.calibrated:

    rule:
        name:
            f"calibration_{_model}"
        input:
            manifest=ancient(rules.shards_manifest.output.manifest),
            shards=ancient(rules.shards_manifest.input),
            model=ancient(PLAN.model_of(_model)),
            vae=ancient(PLAN.vae_of(_model)),
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
            threads=untracked(THREADS),
            level=untracked(LEVEL),
        script:
            "../scripts/calibration_fit.py"


for _model in PLAN.scored:

    rule:
        name:
            f"evaluation_{_model}"
        input:
            manifest=ancient(rules.shards_manifest_test.output.manifest),
            shards=ancient(rules.shards_manifest_test.input),
            model=ancient(PLAN.model_of(_model)),
            vae=ancient(PLAN.vae_of(_model)),
            calibration=ancient(PLAN.calibration_of(_model)),
        output:
            part=f"{PARTS}/{_model}.json",
            examples=f"{PARTS}/{_model}.examples.zarr.zip",
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
            gpu=1 if CONFIG.runtime.device != "cpu" else 0,
        params:
            **identity(f"evaluation_{_model}"),
            threads=untracked(THREADS),
            level=untracked(LEVEL),
        script:
            "../scripts/evaluation_system.py"


rule evaluation_collect:
    input:
        baselines=rules.evaluation_baselines.output.part,
        floors=[rules.evaluation_floors.output.part] if PLAN.floor_vae else [],
        systems=[f"{PARTS}/{model}.json" for model in PLAN.scored],
    output:
        metrics=f"{RESULTS}/evaluation/metrics.json",
        table=f"{RESULTS}/evaluation/metrics.csv",
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
        level=untracked(LEVEL),
    script:
        "../scripts/evaluation_collect.py"


rule evaluation:
    input:
        rules.evaluation_collect.output,
