# Patches of the terrain: extracted with a halo, filtered by altimetry coverage, split.
rule patches_extract:
    input:
        terrain=ancient(rules.terrain_index.output.terrain),
        dems=ancient(DEMS),
        counts=ancient(COUNTS),
    output:
        patches=PLAN["patches"].path("tile_{tile}.zarr.zip"),
    log:
        log_of("patches", "tile_{tile}"),
    benchmark:
        benchmark_of("patches", "tile_{tile}")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        **identity("patches"),
    script:
        "../scripts/patches_extract.py"


rule patches_select:
    input:
        patches=ancient(rules.patches_extract.output.patches),
    output:
        selected=PLAN["selected"].path("tile_{tile}.json"),
    log:
        log_of("selected", "tile_{tile}"),
    benchmark:
        benchmark_of("selected", "tile_{tile}")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **identity("selected"),
    script:
        "../scripts/patches_select.py"


rule patches_split:
    input:
        selected=ancient(tiles("selected", "tile_{tile}.json")),
        index=ancient(CONFIG.split.index_files),
    output:
        split=PLAN["split"].path("split.json"),
    log:
        log_of("split"),
    benchmark:
        benchmark_of("split")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **identity("split"),
    script:
        "../scripts/patches_split.py"


rule patches:
    input:
        rules.patches_split.output,
        tiles("patches", "tile_{tile}.zarr.zip"),
