# A map of a user's site: a DEM, real images and their Suns, with given weights.
from pipeline.maps.kinds import DOCUMENTS, KINDS
from pipeline.maps.tiling import chunks, tiles as tiles_of

SITE = PLAN.site.paths
LAYOUT = PLAN.site.place
MAP_TILES = [
    f"{tile:04d}"
    for tile in range(
        len(
            tiles_of(
                LAYOUT.grid.height,
                LAYOUT.grid.width,
                CONFIG.patches.size_px,
                CONFIG.map.stride_px,
                CONFIG.map.tile_px,
            )
        )
    )
]
TILE = "tile_{}.zarr.zip"
CHUNKS = [
    f"{chunk:04d}"
    for chunk in range(len(chunks(SITE["images"], CONFIG.images.per_job)))
]
MODEL = dict(
    model=ancient(PLAN.given_files("model")[:1]),
    vae=ancient(PLAN.given_files("vae")[:1]),
    calibration=ancient(PLAN.given_files("calibration")[:1]),
)
PRODUCT_FILES = {
    name: f"{RESULTS}/map/{name}.tif"
    for name in KINDS
    if name != "clones" or CONFIG.map.clones
} | {name: f"{RESULTS}/map/{file}" for name, file in DOCUMENTS.items()}
PRODUCT_FILES |= {
    name: shown(PRODUCT_FILES[name], title, "Map")
    for name, title in {
        "viewer": "viewer",
        "quicklook": "map",
        "images": "images of the map",
    }.items()
}


if workflow.is_main_process and {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
    # Preview of the map: images used and refused, bounds, memory and time.
    from pipeline.maps.describe import describe

    try:
        print(describe(CONFIG, LAYOUT, SITE["images"]), file=sys.stderr)
    except ValueError as error:
        raise WorkflowError(f"config: {error}") from None


rule map_site:
    input:
        # Snakemake does not accept the name `count`.
        **{f"site_{key}": ancient(files) for key, files in SITE.items()},
    output:
        ground=PLAN["map_site"].path("ground.zarr.zip"),
        site=PLAN["map_site"].path("site.json"),
    log:
        log_of("map_site"),
    benchmark:
        benchmark_of("map_site")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        **identity("map_site"),
    script:
        "../scripts/map_site.py"


if CHUNKS:

    rule map_images_first:
        input:
            images=ancient(SITE["images"]),
            ground=ancient(rules.map_site.output.ground),
            site=ancient(rules.map_site.output.site),
        output:
            PLAN["map_images_first"].path("chunk_{chunk}.zarr.zip"),
        log:
            log_of("map_images_first", "chunk_{chunk}"),
        benchmark:
            benchmark_of("map_images_first", "chunk_{chunk}")
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=4000,
            runtime=120,
        params:
            **identity("map_images_first"),
        script:
            "../scripts/map_images.py"

    rule map_clones_first:
        input:
            **MODEL,
            ground=ancient(rules.map_site.output.ground),
            images=ancient(parts("map_images_first", "chunk_{}.zarr.zip", CHUNKS)),
        output:
            PLAN["map_clones_first"].path("tile_{tile}.zarr.zip"),
        log:
            log_of("map_clones_first", "tile_{tile}"),
        benchmark:
            benchmark_of("map_clones_first", "tile_{tile}")
        conda:
            "../../envs/environment.yaml"
        threads: THREADS
        resources:
            mem_mb=6000,
            runtime=360,
            gpu=1 if CONFIG.runtime.device != "cpu" else 0,
        params:
            **identity("map_clones_first"),
        script:
            "../scripts/map_clones.py"

    rule map_first:
        input:
            ground=ancient(rules.map_site.output.ground),
            clones=ancient(parts("map_clones_first", TILE, MAP_TILES)),
        output:
            PLAN["map_first"].path("ground.zarr.zip"),
        log:
            log_of("map_first"),
        benchmark:
            benchmark_of("map_first")
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            **identity("map_first"),
        script:
            "../scripts/map_first.py"

    rule map_images:
        input:
            images=ancient(SITE["images"]),
            first=ancient(parts("map_images_first", "chunk_{}.zarr.zip", CHUNKS)),
            ground=ancient(rules.map_first.output),
            site=ancient(rules.map_site.output.site),
        output:
            PLAN["map_images"].path("chunk_{chunk}.zarr.zip"),
        log:
            log_of("map_images", "chunk_{chunk}"),
        benchmark:
            benchmark_of("map_images", "chunk_{chunk}")
        conda:
            "../../envs/environment.yaml"
        resources:
            mem_mb=4000,
            runtime=120,
        params:
            **identity("map_images"),
        script:
            "../scripts/map_images.py"


PREPARED = parts("map_images", "chunk_{}.zarr.zip", CHUNKS) if CHUNKS else []


rule map_clones:
    input:
        **MODEL,
        ground=ancient(rules.map_site.output.ground),
        images=ancient(PREPARED),
    output:
        PLAN["map_clones"].path("tile_{tile}.zarr.zip"),
    log:
        log_of("map_clones", "tile_{tile}"),
    benchmark:
        benchmark_of("map_clones", "tile_{tile}")
    conda:
        "../../envs/environment.yaml"
    threads: THREADS
    resources:
        mem_mb=6000,
        runtime=720,
        gpu=1 if CONFIG.runtime.device != "cpu" else 0,
    params:
        **identity("map_clones"),
    script:
        "../scripts/map_clones.py"


rule map_check:
    input:
        ground=ancient(rules.map_site.output.ground),
        images=ancient(PREPARED),
        clones=ancient(parts("map_clones", TILE, MAP_TILES)),
    output:
        check=PLAN["map_check"].path("check.json"),
        fallback=PLAN["map_check"].path("fallback.zarr.zip"),
    log:
        log_of("map_check"),
    benchmark:
        benchmark_of("map_check")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        **identity("map_check"),
    script:
        "../scripts/map_check.py"


if "map_clones_all" in PLAN.stages:

    rule map_clones_all:
        input:
            **MODEL,
            ground=ancient(rules.map_site.output.ground),
            images=ancient(PREPARED),
        output:
            PLAN["map_clones_all"].path("tile_{tile}.zarr.zip"),
        log:
            log_of("map_clones_all", "tile_{tile}"),
        benchmark:
            benchmark_of("map_clones_all", "tile_{tile}")
        conda:
            "../../envs/environment.yaml"
        threads: THREADS
        resources:
            mem_mb=6000,
            runtime=720,
            gpu=1 if CONFIG.runtime.device != "cpu" else 0,
        params:
            **identity("map_clones_all"),
        script:
            "../scripts/map_clones.py"


FINAL = "map_clones_all" if "map_clones_all" in PLAN.stages else "map_clones"


rule map_products:
    input:
        ground=ancient(rules.map_site.output.ground),
        site=ancient(rules.map_site.output.site),
        images=ancient(PREPARED),
        clones=ancient(parts(FINAL, TILE, MAP_TILES)),
        check=ancient(rules.map_check.output.check),
        fallback=ancient(rules.map_check.output.fallback),
        model=ancient(PLAN.given_files("model")[:1]),
        points=ancient(SITE["points"]),
    output:
        **PRODUCT_FILES,
    log:
        log_of("map"),
    benchmark:
        benchmark_of("map")
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        **identity("map"),
    script:
        "../scripts/map_products.py"


rule map:
    input:
        rules.map_products.output,
        # The record names the map's stages, so that `make prune` keeps them.
        rules.run_record.output,
