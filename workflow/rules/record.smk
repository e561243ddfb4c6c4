# The record of a run, and the explanation of what would run again.
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


rule why:
    log:
        f"results/logs/why/{CONFIG.run}/log.txt",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        record=untracked(PLAN.record_json),
        level=untracked(LEVEL),
    script:
        "../scripts/why.py"
