# What all rules share: the validated config, the plan with its stage keys, and paths.
from pipeline.config.root import ConfigError, load_config
from pipeline.provenance.plan import Plan

try:
    CONFIG = load_config(config)
    PLAN = Plan(CONFIG)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

RESULTS = PLAN.results
TILES = [f"{tile:03d}" for tile in range(CONFIG.patches.tiles)]
LEVEL = CONFIG.runtime.log_level
THREADS = CONFIG.training.cpu_threads


def tiles(stage, pattern):
    """All tile files of a stage."""
    return [PLAN[stage].path(pattern.format(tile=tile)) for tile in TILES]


def log_of(stage, name="log"):
    """A rule's log file: logs/<run>/<stage>/<key>/<name>.txt."""
    return f"results/logs/{stage}/{PLAN[stage].key}/{name}.txt"


def benchmark_of(stage, name="benchmark"):
    """A rule's benchmark file, beside its log."""
    return f"results/logs/{stage}/{PLAN[stage].key}/{name}.tsv"


def identity(stage):
    """Params that make a rule depend on its stage's key: plain strings, so that Snakemake compares them."""
    return {"stage": stage, "key": PLAN[stage].key, "section": PLAN[stage].section}
