"""What a job says about itself, and how it ends."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from snakemake.iocontainers import Params

from pipeline.config.coverage import CoverageSection
from pipeline.config.runtime import RuntimeSection
from pipeline.jobs.job import job, rule_job
from pipeline.jobs.progress import progress
from pipeline.provenance.run_folder import write_run


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """`job` takes over the root logger, as a process of its own may."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_job_logs_to_its_file_and_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "deep" / "log.txt"
    with job(str(log), "INFO"):
        logging.getLogger("pipeline.x").info("patches done: %d", 3)
        logging.getLogger("pipeline.x").debug("not shown")
    for text in (log.read_text(), capfd.readouterr().err):
        assert "INFO patches done: 3" in text
        assert "not shown" not in text


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a.tif: expected 20 m, found 40 m"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "a.tif"),
        OSError(errno.ENOSPC, "No space left on device", "a.tif"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(tmp_path: Path, error: Exception) -> None:
    log = tmp_path / "log.txt"
    with pytest.raises(SystemExit) as caught, job(str(log), run_record=tmp_path / "run.json"):
        raise error
    assert caught.value.code == 1
    assert [line.split("ERROR ")[1] for line in log.read_text().splitlines()] == [str(error)]
    assert "a.tif" in log.read_text()
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8.00 GiB for an array"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a memory object"),
    ],
    ids=str,
)
def test_too_little_memory_is_one_line_with_the_words_that_told_it(
    tmp_path: Path, error: MemoryError | RuntimeError
) -> None:
    log = tmp_path / "log.txt"
    with pytest.raises(SystemExit) as caught, job(str(log)):
        raise error
    assert caught.value.code == 1
    (told,) = log.read_text().splitlines()
    words = str(error) or "an allocation failed"
    assert told.endswith(
        f"ERROR out of memory: {words}; give the job more (mem_mb; profiles/slurm/config.yaml on a cluster)"
    )


@pytest.mark.parametrize(
    "words",
    [
        "could not create a primitive descriptor for the matmul primitive. Run workload with",
        "could not create a primitive: of another kind",
        "mat1 and mat2 shapes cannot be multiplied",
    ],
)
def test_other_troubles_of_torch_keep_their_stack(tmp_path: Path, words: str) -> None:
    with pytest.raises(RuntimeError, match=words), job(str(tmp_path / "log.txt")):
        raise RuntimeError(words)


def test_onednn_without_memory_is_out_of_memory() -> None:
    """Its real words under a limit of the address space that leaves room for the tensors only."""
    code = """
import resource, sys, torch
from pipeline.jobs.job import out_of_memory
torch.set_num_threads(1)
layer = torch.nn.Conv2d(8, 8, 3)
inputs = [torch.zeros(1, 8, 8, 8 + n) for n in range(400)]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**24,) * 2)
try:
    with torch.no_grad():
        for x in inputs:  # each shape has code of its own
            layer(x)
except RuntimeError as error:
    print(out_of_memory(error), error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("True "), run.stdout


def test_a_bug_keeps_its_stack(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), job(str(tmp_path / "log.txt")):
        raise ZeroDivisionError


def test_a_cancelled_job_cleans_up(tmp_path: Path) -> None:
    """SIGTERM unwinds the stack, so that blocks which remove half-written files get their turn."""
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, job(None):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            cleaned.append(True)
    assert caught.value.code == 128 + signal.SIGTERM
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_records_hold_identity_and_times_stand_apart(tmp_path: Path) -> None:
    texts = []
    for name in "ab":
        record = tmp_path / name / "run.json"
        record.parent.mkdir()
        with job(None, stage="vae", key="0123", section={"base": 64}, run_record=record):
            pass
        texts.append(record.read_bytes())
        timing = json.loads((tmp_path / name / "run.timing.json").read_text())
        assert timing["seconds"] >= 0
        assert "host" in timing
    assert texts[0] == texts[1]
    assert json.loads(texts[0]) == {"schema": "run/1", "stage": "vae", "key": "0123", "section": {"base": 64}}


def test_threads_of_torch_are_set_from_the_config(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    try:
        with job(None, cpu_threads=2):
            assert torch.get_num_threads() == 2
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])


class Rule:
    """What Snakemake hands to a rule's adapter."""

    def __init__(self, folder: Path, **params: str) -> None:
        self.log = [str(folder / "log.txt")]
        self.params = Params(fromdict={"stage": "selected", "key": "k", "runtime": "{}", **params})


def test_a_rules_section_is_parsed_and_recorded(tmp_path: Path) -> None:
    """Snakemake's params look like a mapping but are a list: `in` asks for values, not for names."""
    with rule_job(Rule(tmp_path, section='{"min_share":0.5}'), CoverageSection) as work:
        assert work.section == CoverageSection(min_share=0.5)
        assert (work.key, work.runtime) == ("k", RuntimeSection())
    record = json.loads((tmp_path / "log.run.json").read_text())
    assert record == {"schema": "run/1", "stage": "selected", "key": "k", "section": {"min_share": 0.5}}


def test_a_section_of_another_kind_is_refused(tmp_path: Path) -> None:
    rule = Rule(tmp_path, section='{"min_share":2}')
    with pytest.raises(ValidationError, match="min_share"), rule_job(rule, CoverageSection):
        raise AssertionError("not reached")


def test_progress_passes_everything_on_and_tells_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(progress(iter(range(5)), 5, "patches")) == list(range(5))
    assert [r.getMessage().split(" (")[0] for r in caplog.records] == ["patches: 5 of 5"]


def test_progress_tells_the_time_between(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        list(progress(range(3), 3, "patches", every_s=0.0))
    assert len(caplog.records) == 3


def test_a_run_links_to_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for key in ("aaa", "bbb"):
        folder = Path(f"results/store/vae/{key}")
        folder.mkdir(parents=True)
        (folder / "model.txt").write_text(key)
        stages = {
            "vae": {"folder": folder.as_posix(), "key": key},
            "region": {"folder": "results/tiny/region", "key": key},
        }
        write_run(json.dumps({"schema": "stages/1", "stages": stages}), Path("results/tiny/stages.json"))
        assert [p.name for p in Path("results/tiny/store").iterdir()] == ["vae"]
        assert Path("results/tiny/store/vae/model.txt").read_text() == key
    assert json.loads(Path("results/tiny/stages.json").read_text())["stages"]["vae"]["key"] == "bbb"


def test_every_job_with_a_key_leaves_a_record_beside_its_log(tmp_path: Path) -> None:
    with job(str(tmp_path / "tile_003.txt"), stage="patches", key="abc", section={"size_px": 96}):
        pass
    record = json.loads((tmp_path / "tile_003.run.json").read_text())
    assert record == {"schema": "run/1", "stage": "patches", "key": "abc", "section": {"size_px": 96}}
    assert "seconds" in json.loads((tmp_path / "tile_003.run.timing.json").read_text())
