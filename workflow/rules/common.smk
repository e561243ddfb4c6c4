# Shared by all rules - the validated config, the plan with its stage keys, and paths.
import os
import sys
from pathlib import Path

# Jobs run the library that lies beside these rules, whatever is installed and wherever the first Snakefile is.
# A wheel has the workflow within the package, which is then the installed one (`pipeline.config.shipped`).
PROJECT = Path(str(workflow.current_basedir)).parents[1]
CARRIED = PROJECT.parts[-2:] == ("pipeline", "_project")
SOURCE = str(PROJECT.parents[1] if CARRIED else PROJECT / "src")
if not Path(SOURCE, "pipeline").is_dir():
    raise WorkflowError(
        f"expected the package beside the workflow, found no {SOURCE}/pipeline; clone the repository, and let a "
        "`module` name the Snakefile in the clone"
    )
if not CARRIED:
    sys.path.insert(0, SOURCE)
    BEFORE = dict(os.environ).get("PYTHONPATH")
    os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, (SOURCE, BEFORE))))
# Waiting threads must sleep: spinning ones make a job with two threads several times slower if another
# program needs a core. The results are the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Freed memory is kept: returning it to the system and getting it again costs a network a tenth of its time.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(8 << 30))

import pipeline
from pipeline.config.root import ConfigError, load_config
from pipeline.provenance.controllers import join
from pipeline.provenance.leftovers import (
    clear_checkpoints,
    forget_marks,
    refuse_leftovers,
)
from pipeline.provenance.plan import Plan

if not Path(pipeline.__file__).parent.samefile(Path(SOURCE, "pipeline")):
    raise WorkflowError(
        f"expected the package of {SOURCE}, found that of {Path(pipeline.__file__).parents[1]}, which was imported "
        "before: one Snakefile can use one checkout"
    )

try:
    CONFIG = load_config(config)
    PLAN = Plan(CONFIG)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process:
    forget_marks(Path.cwd())

RESULTS = PLAN.results
TILES = [f"{tile:03d}" for tile in range(CONFIG.patches.tiles)]
LEVEL = CONFIG.runtime.log_level
THREADS = CONFIG.training.cpu_threads


def tiles(stage, pattern):
    """All tile files of a stage."""
    return [PLAN[stage].path(pattern.format(tile=tile)) for tile in TILES]


def parts(stage, pattern, labels):
    """Files of a stage's parts."""
    return [PLAN[stage].path(pattern.format(label)) for label in labels]


def log_of(stage, name="log"):
    """Log file of a job, results/logs/<stage>/<key>/<name>.txt."""
    return f"results/logs/{stage}/{PLAN[stage].key}/{name}.txt"


def benchmark_of(stage, name="benchmark"):
    """Benchmark file of a job, beside its log."""
    return f"results/logs/{stage}/{PLAN[stage].key}/{name}.tsv"


def untracked(value):
    """A param that Snakemake does not compare, since what matters of it is in the stage's key.

    Snakemake compares no param that is a function of `threads`, as those may differ between machines.
    """
    return lambda wildcards, threads: value


def shown(path, result, category):
    """An output that `snakemake --report` shows, with the caption of that name in workflow/report."""
    return report(
        path,
        caption=f"../report/{result.replace(' ', '_')}.rst",
        category=category,
        labels={"result": result, "file": Path(path).name},
    )


def identity(stage):
    """Params that name a stage; a job runs again when its key, a plain string, is not that of its outputs."""
    return {
        "stage": stage,
        "key": PLAN[stage].key,
        "section": untracked(PLAN[stage].section),
        "runtime": untracked(CONFIG.runtime.canonical()),
    }


def previous_weights(model):
    """Weights that a stage of a training starts from, as a list that is empty for the first."""
    before = PLAN.previous(model)
    return [PLAN[before].path("model.safetensors")] if before else []


def init_weights(model):
    """Given weights that the first stage of a training starts from, as a list that may be empty."""
    init = PLAN.init(model)
    return [init.model] if init else []


def track_of(stage):
    """The Sun's track, for stages that read it."""
    return [PLAN.track] if "ephemeris" in PLAN[stage].inputs else []


def far_of(stage):
    """Block means of the far terrain, for stages that read them."""
    return [PLAN["far"].path("far.zarr.zip")] if "far" in PLAN[stage].inputs else []


def scenes_of(stage):
    """Image sets of the job's tile, for stages that read them."""
    found = [name for name in ("scenes", "scenes_test") if name in PLAN[stage].inputs]
    return [PLAN[name].path("tile_{tile}.zarr.zip") for name in found]


def places_of(stage):
    """Patches of the job's tile, for stages that read where they lie."""
    path = PLAN["patches"].path("tile_{tile}.zarr.zip")
    return [path] if "patches" in PLAN[stage].inputs else []


def training_place():
    """GPUs and nodes of a training, as resources."""
    runtime = CONFIG.runtime
    gpus = 0 if runtime.device == "cpu" else runtime.nodes * (runtime.processes or 1)
    if runtime.nodes == 1:
        return {"gpu": gpus}
    # `mpi`: the job starts the processes itself; without `tasks_per_gpu` Slurm's plugin would ask for
    # `tasks` per GPU.
    several = {
        "nodes": runtime.nodes,
        "tasks": runtime.nodes,
        "mpi": "srun",
        "tasks_per_gpu": 0,
    }
    return {"gpu": gpus, **several}


onstart:
    refuse_leftovers(workflow.workdir_init, others=join(Path.cwd()))


onerror:
    print("Give the same command again to go on.", file=sys.stderr)


onsuccess:
    clear_checkpoints(
        PLAN[model].path("model.safetensors")
        for model in (
            ["vae", *PLAN.systems, *PLAN.learned] if CONFIG.systems else []
        )
    )
