# The terrain: fetched, generated or given, then checked and indexed before any long work starts.
DEMS = list(PLAN.files.dem)
COUNTS = list(PLAN.files.count)
if CONFIG.inputs.synthetic:
    DEMS = [PLAN["synthetic"].path("synthetic_dem.tif")]
    COUNTS = [PLAN["synthetic"].path("synthetic_count.tif")]

    rule terrain_synthesize:
        output:
            dems=DEMS[0],
            counts=COUNTS[0],
        log:
            log_of("synthetic"),
        benchmark:
            benchmark_of("synthetic")
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=4000,
            runtime=30,
        params:
            **identity("synthetic"),
        script:
            "../scripts/terrain_synthesize.py"


if PLAN.files.urls:

    rule terrain_fetch:
        output:
            protected("resources/downloads/{name}"),
        log:
            "results/logs/terrain_fetch/{name}.txt",
        benchmark:
            "results/logs/terrain_fetch/{name}.tsv"
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=1000,
            runtime=720,
        params:
            url=lambda wildcards, output: PLAN.files.urls[output[0]][0],
            sha256=lambda wildcards, output: PLAN.files.urls[output[0]][1],
            level=untracked(LEVEL),
        script:
            "../scripts/terrain_fetch.py"


rule terrain_index:
    input:
        dems=ancient(DEMS),
        counts=ancient(COUNTS),
        fetched=ancient(list(PLAN.files.urls)),
    output:
        terrain=PLAN["terrain"].path("terrain.json"),
    log:
        log_of("terrain"),
    benchmark:
        benchmark_of("terrain")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **identity("terrain"),
    script:
        "../scripts/terrain_index.py"


rule terrain:
    input:
        rules.terrain_index.output,
