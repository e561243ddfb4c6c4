# What people look at, and what reviewers get.
rule run_record:
    output:
        stages=f"{RESULTS}/stages.json",
    log:
        f"results/logs/run_record/{CONFIG.run}/log.txt",
    benchmark:
        f"results/logs/run_record/{CONFIG.run}/benchmark.tsv"
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        key=PLAN.record_key,
        record=untracked(PLAN.record_json),
        level=untracked(LEVEL),
    script:
        "../scripts/run_record.py"


rule report_write:
    input:
        stages=rules.run_record.output.stages,
        metrics=rules.evaluation_collect.output.metrics,
        examples=[f"{PARTS}/{model}.examples.zarr.zip" for model in PLAN.systems],
        training=[PLAN["vae"].path("metrics.jsonl")]
        + [PLAN[m].path("metrics.jsonl") for m in PLAN.systems],
        manifests=[
            rules.shards_manifest.output.manifest,
            rules.shards_manifest_test.output.manifest,
        ],
        shards=ancient(rules.shards_manifest_test.input),
        split=ancient(rules.patches_split.output.split),
        selected=ancient(tiles("selected", "tile_{tile}.json")),
        terrain=ancient(rules.terrain_index.output.terrain),
        dems=ancient(DEMS),
        counts=ancient(COUNTS),
        region=rules.region_reconstruct.output,
    output:
        report=f"{RESULTS}/report.html",
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **identity("report"),
        level=untracked(LEVEL),
    script:
        "../scripts/report_write.py"


rule bundle_write:
    input:
        stages=rules.run_record.output.stages,
        report=rules.report_write.output.report,
        metrics=rules.evaluation_collect.output,
        region=rules.region_reconstruct.output,
        manifests=[
            rules.shards_manifest.output.manifest,
            rules.shards_manifest_test.output.manifest,
        ],
        models=[
            PLAN[m].path(f)
            for m in ["vae", *PLAN.systems]
            for f in ("model.safetensors", "config.json", "run.json")
        ],
    output:
        bundle=f"{RESULTS}/bundle.zip",
    log:
        log_of("bundle"),
    benchmark:
        benchmark_of("bundle")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **identity("bundle"),
        level=untracked(LEVEL),
    script:
        "../scripts/bundle_write.py"


rule report:
    input:
        rules.report_write.output,


rule bundle:
    input:
        rules.bundle_write.output,
