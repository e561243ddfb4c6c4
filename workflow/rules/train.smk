# Trainings: the VAE, then each system's stages, each started from the previous one. None with given weights.
if CONFIG.systems:

    rule vae_train:
        input:
            manifest=ancient(rules.shards_manifest.output.manifest),
            shards=ancient(rules.shards_manifest.input),
        output:
            model=PLAN["vae"].path("model.safetensors"),
            config=PLAN["vae"].path("config.json"),
            metrics=PLAN["vae"].path("metrics.jsonl"),
            record=PLAN["vae"].path("run.json"),
        log:
            log_of("vae"),
        benchmark:
            benchmark_of("vae")
        conda:
            "../../envs/environment.yaml"
        threads: THREADS * (CONFIG.runtime.processes or 1)
        resources:
            **training_place(),
            mem_mb=16000,
            runtime=2880,
        params:
            **identity("vae"),
            lpips=untracked(CONFIG.vae.lpips_weights),
        script:
            "../scripts/vae_train.py"


for _model in PLAN.systems:

    rule:
        name:
            f"bridge_train_{_model}"
        input:
            manifest=ancient(rules.shards_manifest.output.manifest),
            shards=ancient(rules.shards_manifest.input),
            vae=ancient(PLAN.files_of(_model)["vae"]),
            previous=ancient(previous_weights(_model)),
            track=ancient(track_of(_model)),
            init=ancient(init_weights(_model)),
        output:
            model=PLAN[_model].path("model.safetensors"),
            config=PLAN[_model].path("config.json"),
            metrics=PLAN[_model].path("metrics.jsonl"),
            record=PLAN[_model].path("run.json"),
        log:
            log_of(_model),
        benchmark:
            benchmark_of(_model)
        conda:
            "../../envs/environment.yaml"
        threads: THREADS * (CONFIG.runtime.processes or 1)
        resources:
            **training_place(),
            mem_mb=16000,
            runtime=2880,
        params:
            **identity(_model),
        script:
            "../scripts/bridge_train.py"


for _rival in PLAN.learned:

    rule:
        name:
            f"rival_train_{_rival}"
        input:
            manifest=ancient(rules.shards_manifest.output.manifest),
            shards=ancient(rules.shards_manifest.input),
            track=ancient(track_of(_rival)),
        output:
            model=PLAN[_rival].path("model.safetensors"),
            config=PLAN[_rival].path("config.json"),
            metrics=PLAN[_rival].path("metrics.jsonl"),
            record=PLAN[_rival].path("run.json"),
        log:
            log_of(_rival),
        benchmark:
            benchmark_of(_rival)
        conda:
            "../../envs/environment.yaml"
        threads: THREADS * (CONFIG.runtime.processes or 1)
        resources:
            **training_place(),
            mem_mb=16000,
            runtime=2880,
        params:
            **identity(_rival),
        script:
            "../scripts/rival_train.py"


# Trained weights in half precision, for publication.
for _shipped, _files in PLAN.shipped.items():

    rule:
        name:
            f"weights_{_shipped}"
        input:
            files=ancient([file for file in _files if file]),
        output:
            model=f"{RESULTS}/weights/{_shipped}/model.safetensors",
        log:
            f"results/logs/weights_{_shipped}/{CONFIG.run}/log.txt",
        benchmark:
            f"results/logs/weights_{_shipped}/{CONFIG.run}/benchmark.tsv"
        localrule: True
        conda:
            "../../envs/environment.yaml"
        params:
            files=untracked(_files),
            made_of=[file for file in _files if file],
            level=untracked(LEVEL),
        script:
            "../scripts/weights_halve.py"


rule weights:
    input:
        [f"{RESULTS}/weights/{name}/model.safetensors" for name in PLAN.shipped],


if CONFIG.systems:

    rule vae:
        input:
            rules.vae_train.output,
            rules.run_record.output,

    rule bridge:
        input:
            [PLAN[model].path("model.safetensors") for model in PLAN.systems],
            rules.run_record.output,
