# Evaluation on the test split: baselines, the VAE's floors, every trained stage, then one metrics.json.
PARTS = f"{RESULTS}/evaluation/parts"


rule evaluation_baselines:
    input:
        manifest=rules.shards_manifest_test.output.manifest,
        shards=rules.shards_manifest_test.input,
    output:
        part=f"{PARTS}/baselines.json",
    params:
        **identity("evaluation_baselines"),
        threads=THREADS,
        level=LEVEL,
    log:
        log_of("evaluation_baselines"),
    benchmark:
        benchmark_of("evaluation_baselines")
    threads: THREADS
    resources:
        mem_mb=8000,
        runtime=120,
    script:
        "../scripts/evaluation_baselines.py"


rule evaluation_floors:
    input:
        manifest=rules.shards_manifest_test.output.manifest,
        shards=rules.shards_manifest_test.input,
        vae=rules.vae_train.output.model,
    output:
        part=f"{PARTS}/floors.json",
    params:
        **identity("evaluation_floors"),
        runtime=CONFIG.runtime.canonical(),
        threads=THREADS,
        level=LEVEL,
    log:
        log_of("evaluation_floors"),
    benchmark:
        benchmark_of("evaluation_floors")
    threads: THREADS
    resources:
        mem_mb=8000,
        runtime=120,
    script:
        "../scripts/evaluation_floors.py"


for _model in PLAN.systems:

    rule:
        name:
            f"evaluation_{_model}"
        input:
            manifest=rules.shards_manifest_test.output.manifest,
            shards=rules.shards_manifest_test.input,
            model=PLAN[_model].path("model.safetensors"),
            vae=vae_of(_model),
        output:
            part=f"{PARTS}/{_model}.json",
            examples=f"{PARTS}/{_model}.examples.zarr.zip",
        params:
            **identity(f"evaluation_{_model}"),
            runtime=CONFIG.runtime.canonical(),
            threads=THREADS,
            level=LEVEL,
        log:
            log_of(f"evaluation_{_model}"),
        benchmark:
            benchmark_of(f"evaluation_{_model}")
        threads: THREADS
        resources:
            mem_mb=12000,
            runtime=720,
            gpu=1 if CONFIG.runtime.device != "cpu" else 0,
        script:
            "../scripts/evaluation_system.py"


rule evaluation_collect:
    input:
        baselines=rules.evaluation_baselines.output.part,
        floors=rules.evaluation_floors.output.part,
        systems=[f"{PARTS}/{model}.json" for model in PLAN.systems],
    output:
        metrics=f"{RESULTS}/evaluation/metrics.json",
        table=f"{RESULTS}/evaluation/metrics.csv",
    params:
        **identity("evaluation"),
        level=LEVEL,
    log:
        log_of("evaluation"),
    benchmark:
        benchmark_of("evaluation")
    localrule: True
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../scripts/evaluation_collect.py"


rule evaluation:
    input:
        rules.evaluation_collect.output,
