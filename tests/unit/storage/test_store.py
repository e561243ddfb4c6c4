"""Stores: one reproducible file that appears whole or not at all, and errors that name what is wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import pipeline.shards
from pipeline.storage import atomic
from pipeline.storage.atomic import read_json, replacing, write_json, write_text
from pipeline.storage.store import StoreError, StoreWriter, open_store, read_store, store_attrs

ATTRS = {"pixel_m": 20.0, "system": "bridge_missing"}
FIELDS = ("truth", "prior", "mean", "clone", "std", "image")


def write(path: Path, value: float = 1.0, patches: int = 3, compress: bool = False, **attrs: object) -> Path:
    """An ``examples`` store: the smallest schema there is."""
    with StoreWriter(path, "examples", {**ATTRS, **attrs}) as writer:
        writer.write("id", np.arange(patches, dtype="i8"), ("patch",))
        for number, name in enumerate(FIELDS):
            data = np.full((patches, 4, 4), value + number, "f4")
            writer.write(name, data, ("patch", "y", "x"), (1, 4, 4), compress=compress)
    return path


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.zarr.zip"), write(tmp_path / "other" / "b.zarr.zip")
    assert first.read_bytes() == second.read_bytes()
    assert write(tmp_path / "c.zarr.zip", 2.0).read_bytes() != first.read_bytes()


def test_entries_are_sorted_dated_1980_stored_and_of_one_mode(tmp_path: Path) -> None:
    with zipfile.ZipFile(write(tmp_path / "a.zarr.zip", compress=True)) as archive:
        entries = archive.infolist()
    assert [e.filename for e in entries] == sorted(e.filename for e in entries)
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {e.compress_type for e in entries} == {zipfile.ZIP_STORED}
    assert {e.external_attr for e in entries} == {0o644 << 16}


def test_bytes_do_not_depend_on_the_order_of_writing_or_of_attributes(tmp_path: Path) -> None:
    path = tmp_path / "b.zarr.zip"
    with StoreWriter(path, "examples", dict(reversed(ATTRS.items()))) as writer:
        for number, name in reversed(list(enumerate(FIELDS))):
            array = writer.create(name, (3, 4, 4), "f4", ("patch", "y", "x"), (1, 4, 4))
            for patch in (2, 0, 1):
                array[patch] = 1.0 + number
        writer.write("id", np.arange(3, dtype="i8"), ("patch",))
    assert path.read_bytes() == write(tmp_path / "a.zarr.zip").read_bytes()


def test_an_exception_leaves_no_file_and_no_scratch(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="halfway"),
        StoreWriter(tmp_path / "a.zarr.zip", "examples", ATTRS) as writer,
    ):
        writer.write("id", np.arange(3, dtype="i8"), ("patch",))
        raise RuntimeError("halfway")
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr.zip")
    before = path.read_bytes()
    with pytest.raises(RuntimeError), StoreWriter(path, "examples", ATTRS):
        raise RuntimeError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("spoil", ["array", "pack"])
def test_a_full_disk_is_named_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    path = write(tmp_path / "a.zarr.zip")
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"array": (zarr.Array, "__setitem__"), "pack": (shutil, "copyfileobj")}[spoil], full)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.zarr\.zip"):
        write(path, 2.0)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skip": "mean"}, "examples/1: expected an array 'mean', found none"),
        ({"extra": "slope"}, "examples/1: found an unknown array 'slope'"),
        ({"dtype": "f8"}, "mean: expected type f4, found f8"),
        ({"dims": ("patch", "x", "y")}, r"mean: expected dimensions \('patch', 'y', 'x'\), found"),
        ({"attrs": {"pixel_m": 1.0}}, "examples/1: expected an attribute 'system', found none"),
        ({"dims": ("patch",)}, "mean: expected one dimension name per axis"),
    ],
)
def test_schema_violations_are_named(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "a.zarr.zip"
    with (
        pytest.raises(ValueError, match=message) as caught,
        StoreWriter(path, "examples", change.get("attrs", ATTRS)) as writer,
    ):
        writer.write("id", np.arange(3, dtype="i8"), ("patch",))
        for name in (*FIELDS, *([change["extra"]] if "extra" in change else [])):
            if name == change.get("skip"):
                continue
            special = name == "mean"
            dtype = change.get("dtype", "f4") if special else "f4"
            dims = change.get("dims", ("patch", "y", "x")) if special else ("patch", "y", "x")
            writer.write(name, np.zeros((3, 4, 4), dtype), dims)
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"expected one of .*'shard'.*found 'nonsense'"):
        StoreWriter(tmp_path / "a.zarr.zip", "nonsense")


@pytest.mark.parametrize("patches", [3, 0])
def test_xarray_opens_a_store_without_a_warning(tmp_path: Path, patches: int) -> None:
    path = write(tmp_path / "a.zarr.zip", patches=patches)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        documented = xr.open_zarr(zarr.storage.ZipStore(path, mode="r"))
        ours = pipeline.shards.open(path)
        documented.load(), ours.load()
    assert documented.identical(ours)
    assert ours["id"].dtype == np.int64
    assert dict(ours.sizes) == {"patch": patches, "y": 4, "x": 4}
    assert ours.attrs["schema"] == "examples/1"
    assert ours.attrs["pixel_m"] == 20.0


def test_integers_and_booleans_keep_their_type_and_nan_stays_nan(tmp_path: Path) -> None:
    from shard_files import write_tile

    tile = write_tile(tmp_path, count=2)
    opened = pipeline.shards.open(tile.patches)
    assert (opened["on_grid"].dtype, opened["pole"].dtype, opened["site"].dtype) == ("bool", "i1", "i4")
    light = pipeline.shards.open(tile.visibility, "fixed")
    assert light["lit"].dtype == np.uint8
    np.testing.assert_array_equal(np.unpackbits(light["lit"].values, axis=-1), tile.lit)


def test_a_write_of_a_region_and_an_unwritten_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr.zip"
    with StoreWriter(path, "examples", ATTRS) as writer:
        writer.write("id", np.arange(2, dtype="i8"), ("patch",))
        for name in FIELDS:
            writer.create(name, (2, 4, 4), "f4", ("patch", "y", "x"), (1, 4, 4))[1] = 0.0
    mean = pipeline.shards.open(path)["mean"].values
    assert np.isnan(mean[0]).all()
    assert (mean[1] == 0).all()


@pytest.mark.parametrize("opener", [open_store, read_store])
def test_another_schema_or_an_absent_group_is_named(tmp_path: Path, opener: Callable) -> None:
    path = write(tmp_path / "a.zarr.zip")
    with pytest.raises(StoreError, match=r"a\.zarr\.zip: expected schema 'shard/1', found 'examples/1'"):
        opener(path, schema="shard")
    with pytest.raises(StoreError, match=r"a\.zarr\.zip: expected a group 'fixed', found none"):
        opener(path, "fixed")


def test_stages_read_what_xarray_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr.zip", compress=True)
    ours, theirs = read_store(path, schema="examples"), open_store(path)
    assert list(ours) == sorted(theirs.variables)
    assert ours.attrs == theirs.attrs
    for name, array in ours.items():
        np.testing.assert_array_equal(array.values, theirs[name].values)
        assert (array.dims, array.shape, array.dtype) == (
            theirs[name].dims,
            theirs[name].shape,
            theirs[name].dtype,
        )
    np.testing.assert_array_equal(ours["mean"][1], theirs["mean"].values[1])
    assert "slope" not in ours


@pytest.mark.parametrize("kind", ["absent", "truncated", "empty", "text", "foreign zip"])
def test_a_file_that_is_no_store_gives_one_clear_error(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.zarr.zip")
    content = path.read_bytes()
    if kind == "absent":
        path.unlink()
    elif kind == "foreign zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
    else:
        path.write_bytes({"truncated": content[:-200], "empty": b"", "text": b"hello"}[kind])
    for read in (store_attrs, read_store, open_store):
        with pytest.raises(StoreError) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: expected a ")
        assert "zarr store, found " in message
        assert "\n" not in message


@pytest.mark.parametrize("opener", [open_store, read_store])
def test_flipped_bits_are_found_when_the_entry_is_read(tmp_path: Path, opener: Callable) -> None:
    path = write(tmp_path / "a.zarr.zip")
    content = bytearray(path.read_bytes())
    at = content.index(b"mean/1.0.0") + len("mean/1.0.0") + 7
    content[at] ^= 1
    path.write_bytes(content)
    opened = opener(path)
    assert np.all(opened["mean"][0] == 3)
    with pytest.raises(
        StoreError, match=r"a\.zarr\.zip: expected the entry 'mean/1\.0\.0' .*delete the file"
    ):
        np.asarray(opened["mean"][1])


def test_replacing_leaves_no_trace_of_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_processes_of_one_number_on_two_hosts_write_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic.os, "getpid", lambda: 7)
    path = tmp_path / "a"
    with replacing(path) as one:
        one.write_text("one")
        with replacing(path) as two:
            two.write_text("two")
        assert one != two and path.read_text() == "two"
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_replacing_syncs_before_it_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(atomic.os, "fsync", lambda handle: seen.append(f"sync {(tmp_path / 'a').exists()}"))
    write_text(tmp_path / "a", "new")
    assert seen == ["sync False", "sync True"]  # the file before the rename, the folder after it


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    code = (
        "import os, signal; from pipeline.storage.atomic import replacing\n"
        f"with replacing({str(path)!r}) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert json.loads(path.read_text()) == {"old": 1}


def test_json_is_canonical_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"b": float("nan")})
    assert read_json(tmp_path / "a.json") == {"a": "é", "b": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"a\.json: expected JSON, found a file that does not parse"),
        ('{"schema": "split/2"}', r"a\.json: expected schema 'split/1', found 'split/2'"),
        ("[]", r"a\.json: expected schema 'split/1', found None"),
    ],
)
def test_json_of_another_kind_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json", "split/1")
