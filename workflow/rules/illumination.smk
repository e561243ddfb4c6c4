# Light: ray-traced visibility of the Sun, Sun arcs, missing-data strips.
rule illumination_trace:
    input:
        patches=ancient(rules.patches_extract.output.patches),
        selected=ancient(rules.patches_select.output.selected),
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
        illumination=untracked(CONFIG.illumination.canonical()),
        size_px=untracked(CONFIG.patches.size_px),
        level=untracked(LEVEL),
    script:
        "../scripts/illumination_trace.py"


rule arcs_select:
    input:
        selected=ancient(rules.patches_select.output.selected),
        split=ancient(rules.patches_split.output.split),
        visibility=ancient(rules.illumination_trace.output.visibility),
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
        arcs=untracked(CONFIG.arcs.canonical()),
        level=untracked(LEVEL),
    script:
        "../scripts/arcs_select.py"


rule masks_draw:
    input:
        arcs=ancient(rules.arcs_select.output.arcs),
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
        masks=untracked(CONFIG.masks.canonical()),
        size_px=untracked(CONFIG.patches.size_px),
        level=untracked(LEVEL),
    script:
        "../scripts/masks_draw.py"


rule illumination:
    input:
        tiles("visibility", "tile_{tile}.zarr.zip"),
        tiles("masks", "tile_{tile}.json"),
