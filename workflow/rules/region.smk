# A region of any size: a moving window of clones, blended into GeoTIFFs.
rule region_reconstruct:
    input:
        terrain=ancient(rules.terrain_index.output.terrain),
        dems=ancient(DEMS),
        counts=ancient(COUNTS),
        split=ancient(rules.patches_split.output.split),
        far=ancient(far_of("region")),
        track=ancient(track_of("region")),
        model=ancient(PLAN.files_of(CONFIG.primary)["model"][0]),
        vae=ancient(PLAN.files_of(CONFIG.primary)["vae"]),
        calibration=ancient(PLAN.files_of(CONFIG.primary)["calibration"]),
    output:
        mean=f"{RESULTS}/region/mean.tif",
        std=f"{RESULTS}/region/std.tif",
        clones=f"{RESULTS}/region/clones.tif",
        prior=f"{RESULTS}/region/prior.tif",
        truth=f"{RESULTS}/region/truth.tif",
        images=f"{RESULTS}/region/images.tif",
        metrics=f"{RESULTS}/region/metrics.json",
        quicklook=shown(f"{RESULTS}/region/quicklook.png", "region", "Region"),
    log:
        log_of("region"),
    benchmark:
        benchmark_of("region")
    conda:
        "../../envs/environment.yaml"
    threads: THREADS
    resources:
        mem_mb=12000,
        runtime=720,
        gpu=1 if CONFIG.runtime.device != "cpu" else 0,
    params:
        **identity("region"),
    script:
        "../scripts/region_reconstruct.py"


rule region:
    input:
        rules.region_reconstruct.output,
        rules.run_record.output,
