# Shards: one store per tile and split (no training shards with given weights). Only test shards contain the
# fixed draws, so that a change of the test conditions never retrains a model.
if CONFIG.systems:

    rule shards_write:
        input:
            patches=ancient(rules.patches_extract.output.patches),
            visibility=ancient(rules.illumination_trace.output.visibility),
            split=ancient(rules.patches_split.output.split),
            scenes=ancient(scenes_of("shards")),
        output:
            train=PLAN["shards"].path("train_{tile}.zarr.zip"),
            validation=PLAN["shards"].path("validation_{tile}.zarr.zip"),
        log:
            log_of("shards", "tile_{tile}"),
        benchmark:
            benchmark_of("shards", "tile_{tile}")
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=3000,
            runtime=60,
        params:
            **identity("shards"),
        script:
            "../scripts/shards_write.py"


rule shards_write_test:
    input:
        patches=ancient(rules.patches_extract.output.patches),
        visibility=ancient(rules.illumination_trace.output.visibility),
        split=ancient(rules.patches_split.output.split),
        arcs=ancient(rules.arcs_select.output.arcs),
        masks=ancient(rules.masks_draw.output.masks),
        scenes=ancient(scenes_of("shards_test")),
    output:
        test=PLAN["shards_test"].path("test_{tile}.zarr.zip"),
    log:
        log_of("shards_test", "tile_{tile}"),
    benchmark:
        benchmark_of("shards_test", "tile_{tile}")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        **identity("shards_test"),
    script:
        "../scripts/shards_write_test.py"


if CONFIG.systems:

    rule shards_manifest:
        input:
            train=ancient(tiles("shards", "train_{tile}.zarr.zip")),
            validation=ancient(tiles("shards", "validation_{tile}.zarr.zip")),
        output:
            manifest=PLAN["manifest"].path("manifest.json"),
            record=PLAN["manifest"].path("run.json"),
        log:
            log_of("manifest"),
        benchmark:
            benchmark_of("manifest")
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=4000,
            runtime=120,
        params:
            **identity("manifest"),
        script:
            "../scripts/shards_manifest.py"


rule shards_manifest_test:
    input:
        test=ancient(tiles("shards_test", "test_{tile}.zarr.zip")),
    output:
        manifest=PLAN["manifest_test"].path("manifest.json"),
        record=PLAN["manifest_test"].path("run.json"),
    log:
        log_of("manifest_test"),
    benchmark:
        benchmark_of("manifest_test")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        **identity("manifest_test"),
    script:
        "../scripts/shards_manifest.py"


rule shards:
    input:
        rules.shards_manifest.output if CONFIG.systems else [],
        rules.shards_manifest_test.output,
