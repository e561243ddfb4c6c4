# The report, and the bundle for reviewers.
TRAINED = ["vae", *PLAN.systems] if CONFIG.systems else []
MANIFESTS = [PLAN["manifest"].path("manifest.json")] if CONFIG.systems else []
MANIFESTS += [PLAN["manifest_test"].path("manifest.json")]


rule report_write:
    input:
        stages=rules.run_record.output.stages,
        metrics=rules.evaluation_collect.output.metrics,
        examples=[f"{PARTS}/{model}.examples.zarr.zip" for model in PLAN.scored],
        training=[PLAN[m].path("metrics.jsonl") for m in TRAINED],
        manifests=MANIFESTS,
        shards=ancient(rules.shards_manifest_test.input),
        split=ancient(rules.patches_split.output.split),
        selected=ancient(tiles("selected", "tile_{tile}.json")),
        terrain=ancient(rules.terrain_index.output.terrain),
        dems=ancient(DEMS),
        counts=ancient(COUNTS),
        region=rules.region_reconstruct.output,
    output:
        report=shown(f"{RESULTS}/report.html", "report", "Evaluation"),
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
    script:
        "../scripts/report_write.py"


rule bundle_write:
    input:
        stages=rules.run_record.output.stages,
        report=rules.report_write.output.report,
        evaluation=rules.evaluation_collect.output,
        region=rules.region_reconstruct.output,
        manifests=MANIFESTS,
        test_manifest=ancient(rules.shards_manifest_test.output.manifest),
        shards=ancient(rules.shards_manifest_test.input),
        split=ancient(rules.patches_split.output.split),
        terrain=ancient(rules.terrain_index.output.terrain),
        fetched=ancient(list(PLAN.files.urls)),
        models=[
            PLAN[m].path(f)
            for m in [*TRAINED, *PLAN.learned]
            for f in ("model.safetensors", "config.json", "run.json", "metrics.jsonl")
        ],
        calibrations=[PLAN.files_of(m)["calibration"] for m in PLAN.calibrated],
        pretrained=ancient(PLAN.given_files("model") + PLAN.given_files("calibration")),
        pretrained_vae=ancient(PLAN.given_files("vae")),
        rivals=ancient(
            [
                file
                for rival in PLAN.found.rivals.values()
                for files in rival.files.values()
                for file in files
            ]
        ),
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
    script:
        "../scripts/bundle_write.py"


rule report:
    input:
        rules.report_write.output,


rule bundle:
    input:
        rules.bundle_write.output,
