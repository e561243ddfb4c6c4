"""The workflow as users meet it: stages by name, plans without network, mistakes in one line."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from snakemake.persistence.file import FilePersistence

from pipeline.config.names import SCENE_STAGES
from pipeline.config.patches import PatchesSection
from pipeline.predictors.registry import PREDICTORS, TRAINED
from pipeline.provenance.controllers import LOCK
from saved_models import save_system

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    "terrain", "patches", "illumination", "shards", "vae", "bridge", "evaluation", "region", "report",
    "bundle", "all",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty working directory with the project's configs."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    return tmp_path


def rules() -> dict[str, str]:
    """Name -> text of every rule in workflow/rules."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    blocks = re.split(r"^ *rule ?(\w*):\n", text, flags=re.M)[1:]
    return {name or f"anonymous {i}": body for i, (name, body) in enumerate(zip(blocks[::2], blocks[1::2]))}


def test_the_paper_plans_without_network_to_at_most_a_few_hundred_jobs(
    folder: Path, snakemake: Callable
) -> None:
    done = snakemake(folder, "-n", "all")
    assert done.returncode == 0, done.text
    assert 100 < done.jobs["total"] < 400
    assert done.jobs["terrain_fetch"] >= 4
    assert done.jobs["illumination_trace"] == done.jobs["shards_write"] == 40
    assert not (folder / "resources").exists()


def test_the_paper_plans_for_slurm_as_typed_in_a_fresh_clone(tmp_path: Path) -> None:
    """`snakemake --profile slurm -n all`, on a machine without Slurm, too."""
    clone = tmp_path / "clone"
    away = (".git", ".venv", "results", "resources", ".snakemake", "tests", "__pycache__")
    shutil.copytree(ROOT, clone, symlinks=True, ignore=shutil.ignore_patterns(*away))
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n", "all"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    first = re.search(r"^rule terrain_fetch:\n(?: +.*\n)+", text, re.M)
    assert first, text[-3000:]
    assert "mem_mb=1000" in first.group(0) and "runtime=720" in first.group(0)
    assert "resources/downloads/LDEM_80S_20MPP_ADJ.TIF" in text
    train = re.search(r"^rule vae_train:\n(?: +.*\n)+", text, re.M)
    assert train and "gpu=1" in train.group(0) and "mem_mb=16000" in train.group(0)


def test_every_stage_is_a_rule(folder: Path, snakemake: Callable) -> None:
    done = snakemake(folder, "--list-rules", "--configfile", "config/tiny.yaml")
    found = set(done.text.split())
    assert found >= STAGES
    assert found >= {
        f"bridge_train_{s}_{b}" for s in ("published", "bridge") for b in ("fibonacci", "missing")
    }


@pytest.mark.parametrize(
    ("stage", "wanted"),
    [
        ("terrain", {"terrain_synthesize", "terrain_index"}),
        (
            "shards",
            {"terrain_synthesize", "terrain_index", "patches_extract", "patches_select", "patches_split",
             "illumination_trace", "arcs_select", "masks_draw", "shards_write", "shards_write_test",
             "shards_manifest", "shards_manifest_test"},
        ),
    ],
)  # fmt: skip
def test_a_stage_asked_for_by_name_plans_what_it_needs(
    folder: Path, snakemake: Callable, stage: str, wanted: set[str]
) -> None:
    done = snakemake(folder, "-n", stage, "--configfile", "config/tiny.yaml")
    assert done.returncode == 0, done.text
    assert set(done.jobs) - {"total", stage} == wanted


def test_targets_with_trainings_and_scores_write_the_record_of_the_run(
    folder: Path, snakemake: Callable
) -> None:
    """`make prune` keeps what a record names."""
    for stage in ("vae", "bridge", "evaluation", "region"):
        done = snakemake(folder, "-n", stage, "--configfile", "config/tiny.yaml")
        assert done.returncode == 0, done.text
        assert done.jobs["run_record"] == 1, stage


@pytest.mark.parametrize(
    ("overlay", "messages"),
    [
        (
            "patches: {size_px: 100}\nvae: {bse: 3}\n",
            ["patches: factor: expected a divisor of size_px = 100, found 16", "vae.bse: unknown key"],
        ),
        (
            "inputs: {dem: data/none_*.tif, count: null}\ncoverage: {min_share: 0}\n",
            ["inputs.dem: expected a file, a glob or a URL, found no file 'data/none_*.tif'"],
        ),
    ],
)
def test_a_mistake_in_the_config_is_one_message_without_a_stack(
    folder: Path, snakemake: Callable, overlay: str, messages: list[str]
) -> None:
    (folder / "mine.yaml").write_text(overlay)
    done = snakemake(folder, "-n", "all", "--configfile", "mine.yaml")
    assert done.returncode != 0
    for message in messages:
        assert message in done.text
    assert "Traceback" not in done.text
    assert len([line for line in done.text.splitlines() if line.strip()]) < 12


def test_make_why_says_what_is_wrong_with_the_config(folder: Path, snakemake: Callable) -> None:
    """With the words of the Makefile."""
    recipe = re.search(r"^why:.*\n\t@\$\(BIN\)/snakemake (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert recipe is not None
    (folder / "mine.yaml").write_text(
        "inputs: {dem: data/none_*.tif, count: null}\ncoverage: {min_share: 0}\n"
    )
    done = snakemake(folder, *recipe.group(1).replace("$(CONFIG)", "mine.yaml").split())
    assert done.returncode != 0
    assert "inputs.dem: expected a file, a glob or a URL, found no file 'data/none_*.tif'" in done.text


EVALUATE = ("--configfile", "config/evaluate.yaml", "small.yaml")
SMALL = """\
pretrained: {weights: w}
patches: {size_px: 32, factor: 8, halo_px: 16, stride_px: 32}
illumination: {halo_px: 16}
region: {size_px: 64, stride_px: 16}
"""


def test_given_weights_plan_no_training(folder: Path, snakemake: Callable) -> None:
    """All of a run, on windows named on the command line; stages that do not exist are not planned."""
    (folder / "small.yaml").write_text(SMALL)
    (folder / "mine.tif").write_text("heights")
    save_system(folder / "w")
    done = snakemake(folder, "-n", "all", *EVALUATE, "--config", 'inputs={"dem": "*.tif"}')
    assert done.returncode == 0, done.text
    assert set(done.jobs) == {
        "terrain_index", "patches_extract", "patches_select", "patches_split", "illumination_trace",
        "arcs_select", "masks_draw", "shards_write_test", "shards_manifest_test", "evaluation_bicubic",
        "evaluation_bicubic_window", "evaluation_photometric", "evaluation_pretrained", "evaluation_collect",
        "region_reconstruct", "run_record", "report_write", "bundle_write", "all", "total",
    }  # fmt: skip
    assert not (folder / "results" / "store").exists()


def test_the_overlay_for_given_weights_asks_for_windows(folder: Path, snakemake: Callable) -> None:
    done = snakemake(folder, "-n", "evaluation", "--configfile", "config/evaluate.yaml")
    assert done.returncode != 0
    assert """--config inputs='{"dem": "my/*.tif"}'""" in done.text
    assert "Traceback" not in done.text


def test_jobs_that_a_killed_start_left_in_slurm_are_named(
    folder: Path, snakemake: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A squeue that knows two jobs sent from here, one from elsewhere, and one of another kind."""
    rows = [
        f"12_[2-3]|rule_illumination_trace_wildcards_001|{folder}",
        f"15|rule_vae_train|{folder}",
        f"16|rule_vae_train|{folder.parent}",
        f"17|notebook|{folder}",
    ]
    squeue = folder / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\n" + "".join(f"echo '{row}'\n" for row in rows))
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=":")
    done = snakemake(folder, "-c1", "run_record", "--configfile", "config/tiny.yaml")
    assert done.returncode != 0
    assert "did not end: 12_[2-3] (illumination_trace 001), 15 (vae_train). Two writers" in done.text
    assert "end them with `scancel 12_[2-3] 15`" in done.text
    assert "Traceback" not in done.text
    assert not (folder / "results" / "tiny").exists()
    with (folder / LOCK).open() as other:  # a controller that is alive
        fcntl.flock(other, fcntl.LOCK_SH)
        done = snakemake(folder, "-c1", "run_record", "--configfile", "config/tiny.yaml")
    assert done.returncode == 0, done.text
    assert "Slurm has jobs of another controller that works here: 12_[2-3]" in done.text
    (folder / "results" / "tiny" / "stages.json").unlink()
    squeue.write_text("#!/bin/sh\nexit 1\n")  # a Slurm that does not answer
    done = snakemake(folder, "-c1", "run_record", "--configfile", "config/tiny.yaml")
    assert done.returncode == 0, done.text


def test_a_start_killed_before_it_noted_a_result_goes_on(folder: Path, snakemake: Callable) -> None:
    """Snakemake would make the result again and, as inputs are ancient, stop there, without an error."""
    tiny = ("--configfile", "config/tiny.yaml")
    assert snakemake(folder, "-c2", "patches", *tiny).returncode == 0
    wanted = snakemake(folder, "-n", "all", *tiny).jobs
    done = next((folder / "results" / "store" / "patches").rglob("tile_001.zarr.zip"))
    marks = FilePersistence(path=folder / ".snakemake", nolock=True)
    marks._mark_incomplete(str(done.relative_to(folder)), None)
    assert snakemake(folder, "-n", "all", *tiny).jobs == wanted


def test_an_unknown_stage_is_named(folder: Path, snakemake: Callable) -> None:
    done = snakemake(folder, "-n", "ilumination", "--configfile", "config/tiny.yaml")
    assert done.returncode != 0
    assert "ilumination" in done.text
    assert "Traceback" not in done.text


# --- how it is written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("script", sorted((ROOT / "workflow" / "scripts").glob("*.py")), ids=lambda p: p.stem)
def test_adapters_only_unpack_and_call(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert len(lines) <= 15
    assert not [
        line for line in lines if re.match(r"\s*(for|while|if|def|class)\b.*", line)
    ] or script.stem in {
        "shards_write",  # one output a split
    }


def test_every_script_belongs_to_a_rule() -> None:
    used = set(re.findall(r'"\.\./scripts/(\w+)\.py"', "\n".join(rules().values())))
    assert used == {path.stem for path in (ROOT / "workflow" / "scripts").glob("*.py")}


# `why` makes no file: it prints.
@pytest.mark.parametrize(
    "name", [name for name, body in rules().items() if "script:" in body and name != "why"]
)
def test_every_job_has_a_log_a_benchmark_and_resources(name: str) -> None:
    body = rules()[name]
    for directive in ("output:", "log:", "benchmark:", "params:"):
        assert re.search(rf"^ +{directive}$", body, flags=re.M), f"{name}: no {directive}"
    assert "resources:" in body or "localrule: True" in body


def test_the_slurm_profile_scales_every_jobs_memory_by_the_attempt() -> None:
    """It repeats the rules' figures, since a profile cannot refer to them."""
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    found = {rule: wanted["mem_mb"] for rule, wanted in profile["set-resources"].items()}
    systems = [f"{s}_{b}" for s in ("published", "bridge") for b in ("fibonacci", "arcs", "missing")]
    systems += [f"bridge_{b}" for b in SCENE_STAGES]
    wanted = {}
    for name, body in rules().items():
        memory = re.search(r"^ +mem_mb=(\d+),$", body, re.M)
        if memory and "script:" in body and "localrule: True" not in body:
            stem = re.search(r'f"(\w+_)\{_model\}"$', body, re.M)
            untrained = [*(name for name in PREDICTORS if name != TRAINED), "pretrained"]
            models = [*systems, *(untrained if stem and stem.group(1) == "evaluation_" else [])]
            names = [f"{stem.group(1)}{model}" for model in models] if stem else [name]
            if '_stage.replace("scenes", "scenes_render")' in body:
                names = ["scenes_render", "scenes_render_test"]
            if 'f"rival_train_{_rival}"' in body:
                names = [f"rival_train_{rival}" for rival, entry in PREDICTORS.items() if entry.train]
            wanted |= {each: f"{memory.group(1)} * attempt" for each in names}
    assert found == wanted


def test_the_slurm_profile_has_a_slot_for_every_job() -> None:
    """With fewer, the plugin would leave out jobs of an array that finds no slot, and wait for ever."""
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    most_tiles = PatchesSection.model_fields["tiles"].metadata
    assert profile["jobs"] > 2 * next(m.le for m in most_tiles if hasattr(m, "le"))


@pytest.mark.parametrize("name", [name for name, body in rules().items() if "script:" in body])
def test_keys_alone_are_tracked(name: str) -> None:
    """Any other param would rerun a stage that does not depend on what changed."""
    params = re.search(r"^ +params:\n(.*?)^ +script:", rules()[name], flags=re.M | re.S)
    assert params
    entries = [line.strip() for line in params.group(1).splitlines() if re.match(r" +(\*\*)?\w+(=|\()", line)]
    tracked = [e for e in entries if "=untracked(" not in e and "lambda wildcards, output:" not in e]
    allowed = {"key=PLAN.record_key,"} if name == "run_record" else set()
    if "weights_halve.py" in rules()[name]:
        allowed = {"made_of=[file for file in _files if file],"}  # paths of the store, which have keys
    assert all(e.startswith("**identity(") or e in allowed for e in tracked), tracked


def test_no_rule_holds_logic() -> None:
    assert not [name for name, body in rules().items() if re.search(r"^ +(run|shell):", body, flags=re.M)]


def test_imports_run_one_way() -> None:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command
    done = subprocess.run([command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
