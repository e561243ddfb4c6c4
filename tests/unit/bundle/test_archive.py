"""Archives: the same bytes for the same content, and nothing outside the folder whatever members say."""

from __future__ import annotations

import errno
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.bundle.archive import SUMS, ArchiveError, check_sums, unpack, write_archive
from pipeline.bundle.verify import verify

Maker = Callable[[zipfile.ZipFile], None]


def made(path: Path, fill: Maker) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", "good")
        fill(archive)
    return path


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename, info.create_system, info.external_attr = name, 3, mode << 16
    return info


def test_equal_content_is_equal_bytes_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"b" * 3000)
    write_archive(tmp_path / "1.zip", {"d/b.bin": tmp_path / "b", "a.txt": b"a"})
    (tmp_path / "b").touch()
    write_archive(tmp_path / "2.zip", {"a.txt": b"a", "d/b.bin": tmp_path / "b"})
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    names = unpack(tmp_path / "1.zip", tmp_path / "out")
    assert names == [SUMS, "a.txt", "d/b.bin"]
    assert (tmp_path / "out" / "d" / "b.bin").read_bytes() == b"b" * 3000
    assert check_sums(tmp_path / "out", names) == (2, [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../out.txt", "may leave it"),
        ("a/../../out.txt", "may leave it"),
        ("/etc/out.txt", "absolute"),
        ("C:/out.txt", "absolute"),
        ("..\\out.txt", "may leave it"),
        ("a\\b", "may leave it"),
        ("a//b", "plain path"),
        ("./b", "plain path"),
        ("folder/", "plain path"),
        ("a\nb", "plain path"),
    ],
)
def test_members_that_leave_the_folder_are_refused_before_anything_is_written(
    tmp_path: Path, name: str, words: str
) -> None:
    path = made(tmp_path / "x.zip", lambda archive: archive.writestr(entry(name), "bad"))
    with pytest.raises(ArchiveError, match=words) as caught:
        unpack(path, tmp_path / "deep" / "out")
    assert repr(name) in str(caught.value)
    assert {p.name for p in tmp_path.rglob("*")} == {"x.zip"}


def _twice(archive: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("good.txt", "again")


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda a: a.writestr(entry("link", stat.S_IFLNK | 0o777), "/etc/passwd"), "found a link"),
        (lambda a: a.writestr(entry("pipe", stat.S_IFIFO | 0o644), ""), "expected a plain file"),
        (_twice, "expected it once"),
        (lambda a: a.writestr("GOOD.TXT", "case"), "expected it once"),
        (lambda a: a.writestr("good.txt/inner", "below a file"), "expected a folder 'good.txt'"),
        (lambda a: a.writestr("zeros", bytes(10**6), zipfile.ZIP_DEFLATED), "times its packed"),
    ],
)
def test_what_is_no_plain_set_of_files_is_refused(tmp_path: Path, fill: Maker, words: str) -> None:
    path = made(tmp_path / "x.zip", fill)
    with pytest.raises(ArchiveError, match=words):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", lambda archive: archive.writestr("big", bytes(1000)))
    with pytest.raises(ArchiveError, match="expected at most 1000 bytes in all members, found 1004"):
        unpack(path, tmp_path / "out", most_bytes=1000)


def _directory(data: bytes, name: bytes) -> int:
    """Where the central directory describes a member."""
    return data.rindex(b"PK\x01\x02", 0, data.rindex(name))


def test_a_member_that_holds_more_than_it_promises_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", lambda archive: archive.writestr("big", bytes(range(250)) * 40))
    data = bytearray(path.read_bytes())
    place = _directory(bytes(data), b"big")
    data[place + 24 : place + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="big"):
        unpack(path, tmp_path / "out")


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """Overlapping members make a small archive big (a zip bomb that no ratio shows)."""
    path = made(tmp_path / "x.zip", lambda archive: archive.writestr("big", b"0123456789" * 100))
    data = bytearray(path.read_bytes())
    place = _directory(bytes(data), b"big")
    data[place + 20 : place + 28] = struct.pack("<II", 5000, 5000)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"do not overlap|big"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_told(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.zip"
    write_archive(path, {"a": b"a" * 5000, "b": b"b" * 5000})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ArchiveError, match=r"x\.zip: expected a whole zip archive, found a damaged one"):
        unpack(path, tmp_path / "out")


def test_an_archive_cut_behind_an_inner_archive_is_not_taken_for_it(tmp_path: Path) -> None:
    write_archive(tmp_path / "inner.zip", {"x": b"x"})
    write_archive(tmp_path / "x.zip", {"inner.zip": tmp_path / "inner.zip", "z": b"z" * 500})
    data, inner = (tmp_path / "x.zip").read_bytes(), (tmp_path / "inner.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(data[: data.index(inner) + len(inner)])
    with pytest.raises(ArchiveError, match=r"x\.zip: expected a whole zip archive, found a damaged one"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    write_archive(path, {"a": b"a" * 5000, "b": b"b" * 5000})
    data = bytearray(path.read_bytes())
    data[data.index(b"b" * 100) + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="member 'b': damaged"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["n" * 300, f"{'d' * 300}/file"])
def test_a_member_that_the_file_system_refuses_is_one_finding(name: str, tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", lambda archive: archive.writestr(entry(name), "long"))
    (row,) = verify(path, tmp_path / "out", evaluate=False)
    assert (row.status, row.check) == ("FAIL", "archive")
    assert f"member {name!r}: expected to write it, found: File name too long" in row.detail


def test_a_full_disk_names_the_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_archive(tmp_path / "x.zip", {"a": b"a"})
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(ArchiveError, match="member 'SHA256SUMS': expected to write it, found: No space left"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="found no file"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


def test_digests_name_what_changed_what_is_lost_and_what_was_added(tmp_path: Path) -> None:
    write_archive(tmp_path / "x.zip", {"a": b"a", "b": b"b", "c": b"c"})
    names = unpack(tmp_path / "x.zip", tmp_path / "out")
    (tmp_path / "out" / "a").write_text("changed")
    (tmp_path / "out" / "d").write_text("new")
    good, problems = check_sums(tmp_path / "out", [n for n in names if n != "b"] + ["d"])
    assert good == 1
    assert [p.split(":")[0] for p in problems] == ["b", "d", "a"]
    assert check_sums(tmp_path / "out", ["a"])[1] == [f"{SUMS}: expected a list of digests, found none"]
