"""The command: its options say the section `site`, and what it cannot do it says in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main as cli
from pipeline.config import shipped


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that were started, none of which ran."""
    commands: list[list[str]] = []

    def finished(command: list[str], *_: Any) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(cli, "_finished", finished)
    return commands


def test_options_become_the_site(
    started: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "map",
        "--dem",
        "my/ldem.tif",
        "--images",
        "my/*.tif",
        "--suns",
        "/at/index.csv",
        "--pixel",
        "40",
    ]
    words += [
        "--center",
        "-10.5",
        "2e3",
        "--size",
        "288",
        "--members",
        "4",
        "--out",
        "results/mine",
        "--dry-run",
    ]
    assert cli.main(words) == 0
    [command] = started
    pairs = dict(word.split("=", 1) for word in command[command.index("--config") + 1 :])
    assert pairs["run"] == "mine" and pairs["map"] == '{"members": 4}'
    site = pairs["site"]
    assert f'"dem": "{tmp_path}/my/ldem.tif"' in site and f'"images": ["{tmp_path}/my/*.tif"]' in site
    assert '"suns": "/at/index.csv"' in site and '"center_m": [-10.5, 2000.0]' in site
    assert "--dry-run" in command and "map" in command


def test_another_place_than_results_is_refused(
    started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["map", "--dem", "a.tif", "--out", "/elsewhere/mine"]) == 2
    assert "--out: expected results/<run>, found /elsewhere/mine" in capsys.readouterr().err
    assert not started


def test_other_tools_have_their_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["sun", "--help"])
    assert end.value.code == 0 and "--kernels" in capsys.readouterr().out


def test_a_dry_run_keeps_its_target(started: list[list[str]]) -> None:
    """`--quiet` takes all words up to the next option."""
    assert cli.main(["map", "--dem", "a.tif", "--dry-run"]) == 0
    [command] = started
    quiet = command.index("--quiet")
    assert "map" not in command[quiet:] and command[quiet + 2] == "--config"


def test_the_unit_of_heights_is_said(started: list[list[str]]) -> None:
    assert cli.main(["map", "--dem", "a.tif", "--height-unit", "km"]) == 0
    [command] = started
    assert any('"height_unit": "km"' in word for word in command)


def test_of_a_wheel_the_workflow_runs_in_the_users_folder(
    started: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its files are named, since none of them is in that folder."""
    wheel = tmp_path / "_project"
    wheel.mkdir()
    monkeypatch.setattr(shipped, "CARRIED", wheel)
    monkeypatch.chdir(tmp_path)
    words = ["map", "--dem", "a.tif", "--dry-run"]
    assert cli.main(words) == 2 and not started
    (wheel / "Snakefile").write_text("")
    assert cli.main(words) == 0
    [command] = started
    assert command[command.index("--snakefile") + 1] == str(wheel / "Snakefile")
    configs = command.index("--configfile")
    names = [str(wheel / "config" / name) for name in ("config.yaml", "map.yaml")]
    assert command[configs + 1 : configs + 4] == [*names, "--cores"]


def test_of_a_checkout_it_runs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], Path]] = []

    def finished(command: list[str], folder: Path, _: Any) -> int:
        seen.append((command, folder))
        return 3

    monkeypatch.setattr(cli, "_finished", finished)
    assert cli.main(["map", "--dem", "a.tif"]) == 3
    [(command, folder)] = seen
    assert folder == Path(__file__).resolve().parents[3] and "--snakefile" not in command
    assert command[command.index("--configfile") + 1] == "config/map.yaml"


# A workflow that takes a second to end after Ctrl-C, and then lets go of its lock.
SLOW = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
try:
    (folder / "lock").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    (folder / "lock").unlink()
    sys.exit(1)
"""


def test_ctrl_c_lets_the_workflow_end(tmp_path: Path) -> None:
    """As from a terminal: both processes get the signal, also twice."""
    call = "import sys; from pipeline.cli import main; sys.exit(main._finished(sys.argv[1:], '.', None))"
    command = [sys.executable, "-c", call, sys.executable, "-c", SLOW, str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    waited = time.monotonic() + 60
    while not (tmp_path / "lock").exists() and time.monotonic() < waited:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in told
    assert not (tmp_path / "lock").exists()


def test_a_workflow_that_was_killed_has_a_status(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    assert cli._finished(command, tmp_path, None) == 128 + signal.SIGKILL
