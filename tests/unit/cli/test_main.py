"""The command: its options say the section `site`, and what it cannot do it says in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.cli import parse_config

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
    assert parse_config([f"run={pairs['run']}"]) == {"run": "mine"} and pairs["map"] == '{"members": 4}'
    site = pairs["site"]
    assert f'"dem": "{tmp_path}/my/ldem.tif"' in site and f'"images": ["{tmp_path}/my/*.tif"]' in site
    assert '"suns": "/at/index.csv"' in site and '"center_m": [-10.5, 2000.0]' in site
    assert "--dry-run" in command and "map" in command


@pytest.mark.parametrize("name", ["2024", "0123", "1e3", "true", "v1.0", "mine"])
def test_a_run_may_be_named_like_a_number(started: list[list[str]], name: str) -> None:
    """Snakemake reads values of its command line."""
    assert cli.main(["map", "--dem", "a.tif", "--out", f"results/{name}", "--dry-run"]) == 0
    [command] = started
    [pair] = [word for word in command if word.startswith("run=")]
    assert parse_config([pair]) == {"run": name}


def test_another_place_than_results_is_refused(
    started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["map", "--dem", "a.tif", "--out", "/elsewhere/mine"]) == 2
    assert "--out: expected results/<run>, found /elsewhere/mine" in capsys.readouterr().err
    assert not started


@pytest.mark.parametrize(("tool", "option"), [("sun", "--kernels"), ("verify", "--device"), ("map", "--dem")])
def test_tools_have_their_own_options(capsys: pytest.CaptureFixture[str], tool: str, option: str) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([tool, "--help"])
    told = capsys.readouterr().out
    assert end.value.code == 0 and option in told
    assert told.startswith(f"usage: lunar-bridge {tool} ") or tool == "sun"


def test_help_of_a_map_has_its_defaults_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """The settings that a map is made with, not only those of the section."""
    with pytest.raises(SystemExit):
        cli.main(["map", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    members = yaml.safe_load((shipped.project() / cli.CONFIG).read_text())["map"]["members"]
    assert f"number of clones ({members})" in told and "CPU cores to use (2)" in told
    assert "(results/map)" in told and "example: lunar-bridge map --dem" in told
    assert "in the DEM's CRS (the whole DEM)" in told


@pytest.mark.parametrize("word", ["-n", "--dry-run"])
def test_a_dry_run_keeps_its_target_and_lists_no_jobs(started: list[list[str]], word: str) -> None:
    """`--quiet` takes all words up to the next option; Snakemake lists every job where it is `all`."""
    assert cli.main(["map", "--dem", "a.tif", word]) == 0
    [command] = started
    quiet = command.index("--quiet")
    assert "--dry-run" in command[:quiet] and "map" not in command[quiet:]
    assert {"rules", "reason"} <= set(command[quiet + 1 : command.index("--config")]) - {"all"}


def test_a_finished_map_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is and how good; nothing where there is none."""
    monkeypatch.setattr(cli, "project", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").write_text("")
    code = 1

    def finished(*_: Any) -> int:
        (tmp_path / "results/mine/map").mkdir(parents=True, exist_ok=True)
        facts = {"check": {"verdict": "the map is nearer"}}
        (tmp_path / "results/mine/map/map.json").write_text(json.dumps(facts))
        return code

    monkeypatch.setattr(cli, "_finished", finished)
    words = ["map", "--dem", "a.tif", "--out", "results/mine"]
    assert cli.main(words) == 1
    code = 0
    assert cli.main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(words) == 0
    assert capsys.readouterr().out == ("map:     results/mine/map/viewer.html\nverdict: the map is nearer\n")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    assert cli.main(words) == 0
    assert f"results/mine/map/viewer.html (in {tmp_path})" in capsys.readouterr().out


def test_the_unit_of_heights_is_said(started: list[list[str]]) -> None:
    assert cli.main(["map", "--dem", "a.tif", "--height-unit", "km", "-n"]) == 0
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
    # Tests that run in the background of a script are born with the signal ignored.
    call = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    call += "from pipeline.cli import main; sys.exit(main._finished(sys.argv[1:], '.', None))"
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
