"""Damage on disk: it is named, what is advised works, and the end is the same, byte for byte."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interrupted import CONFIG, TARGETS, artefacts, before_training, undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference(tiny: Path, tmp_path_factory: pytest.TempPathFactory, snakemake: Callable) -> Path:
    """The run that nothing disturbed."""
    return undisturbed(tiny, tmp_path_factory.mktemp("undisturbed") / "run", snakemake)


def advised(text: str, folder: Path) -> None:
    """Delete what an error message says, in its own words."""
    found = re.search(r"`(rm -[rf] [^`]+)`, then ", text)
    assert found, text[-3000:]
    subprocess.run(found.group(1).split(), cwd=folder, check=True)


def indexed(place: Path) -> list[Path]:
    """A training's checkpoints, oldest first; a kill may leave a newer file that the index does not have."""
    index = place / "checkpoints" / "index.json"
    entries = json.loads(index.read_text())["checkpoints"] if index.is_file() else []
    return [index.with_name(entry["file"]) for entry in entries]


def killed_while_training(folder: Path, place: Path, checkpoints: int) -> None:
    """Start the training by Snakemake and kill everything once so many checkpoints were made."""
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(folder)]
    with (folder / "killed.txt").open("w") as out:
        process = subprocess.Popen(
            [*command, "-c2", *TARGETS],
            cwd=folder,
            stdout=out,
            stderr=out,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    while len(indexed(place)) < checkpoints:
        assert process.poll() is None, (folder / "killed.txt").read_text()[-3000:]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def log_of(folder: Path, place: Path) -> str:
    return (folder / "results" / "logs" / "bridge_missing" / place.name / "log.txt").read_text()


def test_a_corrupt_shard_is_named_and_the_advised_command_rebuilds_it(
    reference: Path, tmp_path: Path, snakemake: Callable
) -> None:
    folder = tmp_path / "run"
    before_training(reference, folder)
    shard = min((folder / "results" / "store" / "shards").glob("*/train_*.zarr.zip"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    done = snakemake(folder, "-c2", *TARGETS)
    assert done.returncode != 0
    assert f"{shard.relative_to(folder)}: expected a shard with sha256 " in done.text
    assert "Traceback" not in done.text
    name = shard.relative_to(folder).as_posix()
    assert f"then the same command with {name} as its only target, then the same command again" in done.text
    advised(done.text, folder)
    assert not shard.exists()
    done = snakemake(folder, "-c2", name, *CONFIG)
    assert done.returncode == 0, done.text[-5000:]
    assert done.jobs == {"shards_write": 1, "total": 1}
    done = snakemake(folder, "-c2", *TARGETS)
    assert done.returncode == 0, done.text[-5000:]
    again = {rule for rule in done.jobs if rule.startswith(("shards", "vae", "bridge_train", "patches"))}
    assert again == {"bridge_train_bridge_missing"}  # nothing that had been made from the shard before
    assert artefacts(folder) == artefacts(reference)


def test_damaged_checkpoints_cost_steps_or_ask_and_change_nothing(
    reference: Path, tmp_path: Path, snakemake: Callable
) -> None:
    """The newest truncated: the one before it does. All truncated: an error, and what it advises."""
    folder = tmp_path / "run"
    place = before_training(reference, folder)
    killed_while_training(folder, place, 3)
    for path in indexed(place):
        path.write_bytes(path.read_bytes()[:1000])
    snakemake(folder, "--unlock", *CONFIG)
    done = snakemake(folder, "-c2", *TARGETS)
    assert done.returncode != 0
    assert "checkpoints: expected at least one whole checkpoint, found 3 damaged" in done.text
    assert "Traceback" not in done.text
    advised(done.text, folder)
    killed_while_training(folder, place, 3)
    newest = indexed(place)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    snakemake(folder, "--unlock", *CONFIG)
    done = snakemake(folder, "-c2", *TARGETS)
    assert done.returncode == 0, done.text[-5000:]
    told = log_of(folder, place)
    assert f"{newest.relative_to(folder)}: expected sha256 " in told
    assert "trying the checkpoint before it" in told
    assert re.search(r"resumed at \d+ of 480 samples", told)
    assert artefacts(folder) == artefacts(reference)
