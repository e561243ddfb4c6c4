"""Event files and what people see of a training, checked by TensorBoard's own reader."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from pipeline.training.events import EventFile
from pipeline.training.progress import Display, Progress


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every tag's points as TensorBoard shows them."""
    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def test_the_checksum_is_castagnolis() -> None:
    """RFC 3720, appendix B.4: 32 zeros have the CRC-32C 0x8A9136AA; masked as TFRecords ask."""
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_points_come_back_as_written(tmp_path: Path) -> None:
    events = EventFile(tmp_path / "events", 0)
    assert files(tmp_path / "events") == []  # nothing to show yet
    for samples, loss in ((4, 0.5), (300, -2.0), (2**40, 1e-30)):
        events.write(samples, {"loss": loss, "learning_rate": 1e-4})
        assert curves(tmp_path / "events")["loss"][-1] == (samples, pytest.approx(loss))
    found = curves(tmp_path / "events")
    assert [s for s, _ in found["loss"]] == [s for s, _ in found["learning_rate"]] == [4, 300, 2**40]
    assert len(files(tmp_path / "events")) == 1


def test_a_resume_replaces_what_was_lost_and_keeps_the_rest(tmp_path: Path) -> None:
    """Killed at 16 with a checkpoint at 8: the points of 12 and 16 are shown once, as they were redone."""
    first = EventFile(tmp_path, 0)
    for samples in (4, 8, 12, 16):
        first.write(samples, {"loss": float(samples)})
    again = EventFile(tmp_path, 8)
    for samples in (12, 16, 20):
        again.write(samples, {"loss": 100.0 + samples})
    assert curves(tmp_path)["loss"] == [(4, 4), (8, 8), (12, 112), (16, 116), (20, 120)]


def test_a_record_cut_short_by_a_kill_costs_nothing_else(tmp_path: Path) -> None:
    first = EventFile(tmp_path, 0)
    for samples in (4, 8, 12):
        first.write(samples, {"loss": float(samples)})
    [path] = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    EventFile(tmp_path, 8).write(12, {"loss": 12.0})
    assert curves(tmp_path)["loss"] == [(4, 4), (8, 8), (12, 12)]


def test_a_training_from_the_beginning_replaces_everything(tmp_path: Path) -> None:
    EventFile(tmp_path, 0).write(4, {"loss": 1.0})
    EventFile(tmp_path, 0).write(8, {"loss": 2.0})
    assert curves(tmp_path)["loss"] == [(8, 2)]


# --- the display ----------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def steps(display: Display, run: Progress, count: int) -> None:
    with display:
        for step in range(count):
            losses = {"loss": float(step)}
            display.show(losses, run.advance(losses, 0.1))


def test_a_log_gets_plain_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Progress(batch=4, samples=10)
    with caplog.at_level(logging.INFO):
        steps(Display("vae", run, tmp_path, shown=True), run, 3)
    assert [r.message.split(" samples")[0] for r in caplog.records] == [f"vae: {n}/10" for n in (4, 8, 12)]
    assert "\r" not in capsys.readouterr().err


def test_a_terminal_gets_a_bar_that_ends_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, run = Terminal(), Progress(batch=4, samples=10)
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO):
        steps(Display("vae", run, tmp_path, shown=True), run, 3)
    last = terminal.getvalue().rstrip().split("\r")[-1]
    assert last.startswith("vae: 100%")
    assert "10/10" in last
    assert "loss=2" in last
    assert caplog.records == []


def test_the_bar_goes_on_where_a_resume_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, run = Terminal(), Progress(batch=5, samples=10)
    monkeypatch.setattr(sys, "stderr", terminal)
    run.resume(5, {"history": [], "sums": {}, "count": 0})
    steps(Display("vae", run, tmp_path, shown=True), run, 0)
    assert "5/10" in terminal.getvalue()


def test_other_processes_of_a_group_say_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Progress(batch=4, samples=8)
    with caplog.at_level(logging.INFO):
        steps(Display("vae", run, tmp_path / "events", shown=False), run, 2)
    assert (caplog.records, files(tmp_path / "events")) == ([], [])
    assert len(run.history) == 2
