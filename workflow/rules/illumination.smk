# Light: ray-traced visibility of the Sun, Sun arcs, missing data.
if "far" in PLAN.stages:

    rule terrain_far:
        input:
            terrain=ancient(rules.terrain_index.output.terrain),
            dems=ancient(DEMS),
            coarse=ancient(CONFIG.inputs.far_entries),
        output:
            far=PLAN["far"].path("far.zarr.zip"),
        log:
            log_of("far"),
        benchmark:
            benchmark_of("far")
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=3000,
            runtime=120,
        params:
            **identity("far"),
        script:
            "../scripts/terrain_far.py"


rule illumination_trace:
    input:
        patches=ancient(rules.patches_extract.output.patches),
        selected=ancient(rules.patches_select.output.selected),
        far=ancient(far_of("visibility")),
    output:
        visibility=(
            PLAN["visibility"].path("tile_{tile}.zarr.zip")
            if CONFIG.runtime.keep_intermediates
            else temp(PLAN["visibility"].path("tile_{tile}.zarr.zip"))
        ),
    log:
        log_of("visibility", "tile_{tile}"),
    benchmark:
        benchmark_of("visibility", "tile_{tile}")
    conda:
        "../../envs/environment.yaml"
    threads: CONFIG.runtime.workers
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        **identity("visibility"),
    script:
        "../scripts/illumination_trace.py"


for _stage in [name for name in ("scenes", "scenes_test") if name in PLAN.stages]:

    rule:
        name:
            _stage.replace("scenes", "scenes_render")
        input:
            patches=ancient(rules.patches_extract.output.patches),
            split=ancient(rules.patches_split.output.split),
            far=ancient(far_of(_stage)),
        output:
            scenes=(
                PLAN[_stage].path("tile_{tile}.zarr.zip")
                if CONFIG.runtime.keep_intermediates
                else temp(PLAN[_stage].path("tile_{tile}.zarr.zip"))
            ),
        log:
            log_of(_stage, "tile_{tile}"),
        benchmark:
            benchmark_of(_stage, "tile_{tile}")
        conda:
            "../../envs/environment.yaml"
        threads: CONFIG.runtime.workers
        resources:
            mem_mb=4000,
            runtime=240,
        params:
            **identity(_stage),
        script:
            "../scripts/scenes_render.py"


if PLAN.track:

    rule ephemeris:
        input:
            kernels=ancient(CONFIG.ephemeris.kernels),
        output:
            track=PLAN.track,
        log:
            log_of("ephemeris"),
        benchmark:
            benchmark_of("ephemeris")
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            **identity("ephemeris"),
        script:
            "../scripts/ephemeris.py"


rule arcs_select:
    input:
        selected=ancient(rules.patches_select.output.selected),
        split=ancient(rules.patches_split.output.split),
        visibility=ancient(rules.illumination_trace.output.visibility),
        patches=ancient(places_of("arcs")),
        track=ancient(track_of("arcs")),
    output:
        arcs=PLAN["arcs"].path("tile_{tile}.json"),
    log:
        log_of("arcs", "tile_{tile}"),
    benchmark:
        benchmark_of("arcs", "tile_{tile}")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **identity("arcs"),
    script:
        "../scripts/arcs_select.py"


rule masks_draw:
    input:
        arcs=ancient(rules.arcs_select.output.arcs),
        patches=ancient(places_of("masks")),
    output:
        masks=PLAN["masks"].path("tile_{tile}.json"),
    log:
        log_of("masks", "tile_{tile}"),
    benchmark:
        benchmark_of("masks", "tile_{tile}")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **identity("masks"),
    script:
        "../scripts/masks_draw.py"


rule illumination:
    input:
        tiles("visibility", "tile_{tile}.zarr.zip"),
        tiles("masks", "tile_{tile}.json"),
        tiles("scenes", "tile_{tile}.zarr.zip") if "scenes" in PLAN.stages else [],
        tiles("scenes_test", "tile_{tile}.zarr.zip")
        if "scenes_test" in PLAN.stages
        else [],
