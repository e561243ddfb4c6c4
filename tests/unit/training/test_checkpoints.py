"""Checkpoints: written whole, verified before use, and never silently left out."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.training import checkpoints as checkpoints_module
from pipeline.training.checkpoints import CheckpointError, Checkpoints


def tensors(value: float) -> dict[str, Tensor]:
    return {"module/weight": torch.full((3, 4), value), "optimiser/0/step": torch.tensor(value)}


def filled(folder: Path, *samples: int, key: str = "abc") -> Checkpoints:
    checkpoints = Checkpoints(folder, key)
    for n in samples:
        checkpoints.save(n, tensors(n), {"history": [{"loss": n / 3}], "count": n})
    return checkpoints


def spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "absent":
        path.unlink()
        return
    if how == "flipped":
        content[-1] ^= 1
    path.write_bytes({"truncated": content[:-5], "empty": b"", "flipped": content}[how])


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_no_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", "abc").load() is None
    assert not (tmp_path / "none").exists()


def test_the_newest_comes_back_bit_for_bit(tmp_path: Path) -> None:
    filled(tmp_path, 10, 20)
    found = Checkpoints(tmp_path, "abc").load()
    assert found is not None
    samples, loaded, state = found
    assert samples == 20
    assert state == {"history": [{"loss": 20 / 3}], "count": 20}
    for name, value in tensors(20).items():
        assert torch.equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype


def test_three_are_kept(tmp_path: Path) -> None:
    filled(tmp_path, 10, 20, 30, 40, 50)
    assert files(tmp_path) == [*(f"{n:012d}.safetensors" for n in (30, 40, 50)), "index.json"]
    assert [e["samples"] for e in json.loads((tmp_path / "index.json").read_text())["checkpoints"]] == [
        30,
        40,
        50,
    ]


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped", "absent"])
def test_a_damaged_one_is_skipped_with_a_warning(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 10, 20, 30)
    spoil(tmp_path / f"{30:012d}.safetensors", how)
    with caplog.at_level(logging.WARNING):
        found = Checkpoints(tmp_path, "abc").load()
    assert found is not None
    assert found[0] == 20
    assert f"{tmp_path}/{30:012d}.safetensors: expected sha256 " in caplog.text
    assert "trying the checkpoint before it" in caplog.text


def test_after_a_skip_training_goes_on_and_replaces_what_was_damaged(tmp_path: Path) -> None:
    filled(tmp_path, 10, 20, 30)
    spoil(tmp_path / f"{30:012d}.safetensors", "flipped")
    again = Checkpoints(tmp_path, "abc")
    assert again.load() is not None
    again.save(30, tensors(31), {})
    found = Checkpoints(tmp_path, "abc").load()
    assert found is not None
    assert found[0] == 30
    assert found[1]["optimiser/0/step"] == 31


@pytest.mark.parametrize("how", ["truncated", "flipped", "absent"])
def test_all_damaged_is_an_error_with_advice_never_a_restart(tmp_path: Path, how: str) -> None:
    filled(tmp_path, 10, 20)
    for n in (10, 20):
        spoil(tmp_path / f"{n:012d}.safetensors", how)
    with pytest.raises(CheckpointError) as caught:
        Checkpoints(tmp_path, "abc").load()
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: expected at least one whole checkpoint, found 2 damaged")
    assert f"delete the folder {tmp_path} to start this training from the beginning" in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"key": "abc"}'])
def test_a_damaged_index_is_an_error_with_advice(tmp_path: Path, content: bytes) -> None:
    filled(tmp_path, 10)
    (tmp_path / "index.json").write_bytes(content)
    for act in (lambda c: c.load(), lambda c: c.save(20, tensors(1), {})):
        with pytest.raises(
            CheckpointError, match=r"index\.json: expected a checkpoint index.*delete the folder"
        ):
            act(Checkpoints(tmp_path, "abc"))


def test_checkpoints_without_an_index_are_an_error_not_a_restart(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    (tmp_path / "index.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"index\.json: expected a checkpoint index, found none.*delete"
    ):
        Checkpoints(tmp_path, "abc").load()


def test_another_stages_checkpoints_are_refused(tmp_path: Path) -> None:
    filled(tmp_path, 10, key="abc")
    other = Checkpoints(tmp_path, "xyz")
    with pytest.raises(CheckpointError, match="expected checkpoints of stage key xyz, found abc; delete"):
        other.load()
    with pytest.raises(CheckpointError, match="found abc"):
        other.save(20, tensors(1), {})


def test_a_full_disk_leaves_the_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = filled(tmp_path, 10, 20)
    before = files(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: .*000000000030\.safetensors"):
        checkpoints.save(30, tensors(30), {})
    assert files(tmp_path) == before
    found = Checkpoints(tmp_path, "abc").load()
    assert found is not None
    assert found[0] == 20


@pytest.mark.parametrize("at", ["weights", "index"])
def test_a_kill_while_saving_leaves_the_older_ones(tmp_path: Path, at: str) -> None:
    filled(tmp_path, 10, 20)
    child = os.fork()
    if child == 0:
        try:
            die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
            if at == "weights":
                Path.replace = die  # type: ignore[method-assign]
            else:
                checkpoints_module.write_json = die
            filled(tmp_path, 30)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    found = Checkpoints(tmp_path, "abc").load()
    assert found is not None
    assert found[0] == 20
    filled(tmp_path, 30)
    assert Checkpoints(tmp_path, "abc").load()[0] == 30  # type: ignore[index]


def test_the_newest_alone_is_kept_when_asked(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 10, 20, 30)
    checkpoints.keep_newest()
    assert files(tmp_path) == [f"{30:012d}.safetensors", "index.json"]
    found = Checkpoints(tmp_path, "abc").load()
    assert found is not None
    assert found[0] == 30


def test_a_first_save_cut_short_is_a_fresh_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was ever whole: there is nothing to lose and nobody to ask."""
    checkpoints = Checkpoints(tmp_path, "abc")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints_module, "content_sha256", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            checkpoints.save(10, tensors(10), {})
    assert files(tmp_path) == [f"{10:012d}.safetensors", "index.json"]
    assert Checkpoints(tmp_path, "abc").load() is None
