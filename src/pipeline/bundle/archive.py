"""Zip archives: equal content gives equal bytes, and an archive that is opened is not trusted.

Members are stored without compression (the bytes must not depend on the installed compressor), sorted and
dated 1980-01-01. Unpacking writes nothing outside the target folder, whatever the names of the members.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipeline.storage.atomic import write_zip
from pipeline.storage.sha256 import content_sha256, file_sha256

SUMS = "SHA256SUMS"
MOST_MEMBERS = 20_000
MOST_BYTES = 64 * 2**30
# Largest ratio of a member's unpacked to its packed size; for text it is 3 to 20.
MOST_GROWTH = 100


class ArchiveError(ValueError):
    """An archive that is damaged, or that must not be unpacked."""


def write_archive(out: Path | str, members: Mapping[str, Path | bytes]) -> None:
    """Write files and bytes as one zip, atomically, with a member ``SHA256SUMS`` that lists all others.

    Parameters
    ----------
    out : archive to write. members : name in the archive -> file to copy, or bytes.
    """
    sums = "".join(f"{content_sha256(members[name])}  {name}\n" for name in sorted(members))
    write_zip(out, {**members, SUMS: sums.encode()}, stat.S_IFREG)


def unpack(path: Path | str, folder: Path | str, most_bytes: int = MOST_BYTES) -> list[str]:
    """Unpack an archive into an empty folder; return the sorted names of the members.

    Every member is checked before the first byte is written.

    Parameters
    ----------
    path : archive. folder : where to write; created if absent.
    most_bytes : largest allowed sum of the members' unpacked sizes.

    Raises
    ------
    ArchiveError
        If the file is not a complete zip, or a member has an absolute path or one outside the folder, is a
        link, a device or encrypted, is present twice (or once as a file and once as a folder), is too large
        or is damaged. The message names the member.
    """
    path, folder = Path(path), Path(folder)
    if not path.is_file():
        raise ArchiveError(f"{path}: expected an archive, found no file")
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            # A truncated bundle may end in the zip directory of one of its members that is itself a zip.
            if archive.comment or min((i.header_offset for i in infos), default=1) != 0:
                raise zipfile.BadZipFile("its members do not begin where the file does")
            _check(path, infos, most_bytes)
            for info in infos:
                _write(archive, info, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ArchiveError(f"{path}: expected a whole zip archive, found a damaged one ({error})") from None
    return sorted(info.filename for info in infos)


def _check(path: Path, infos: list[zipfile.ZipInfo], most_bytes: int) -> None:
    """Refuse an archive if its zip directory breaks a rule."""
    if len(infos) > MOST_MEMBERS:
        raise ArchiveError(f"{path}: expected at most {MOST_MEMBERS} members, found {len(infos)}")
    seen: dict[str, str] = {}
    for info in infos:
        name = info.orig_filename
        problem = _problem(name) or _kind(info)
        if problem:
            raise ArchiveError(f"{path}: member {name!r}: {problem}")
        # Some file systems ignore the case of names.
        twin = seen.setdefault(name.casefold(), name)
        if twin is not name:
            raise ArchiveError(f"{path}: member {name!r}: expected it once, found also {twin!r}")
    for name in seen.values():
        for parent in PurePosixPath(name).parents:
            if parent.as_posix().casefold() in seen:
                raise ArchiveError(
                    f"{path}: member {name!r}: expected a folder {parent.as_posix()!r}, found a file"
                )
    total, packed = sum(i.file_size for i in infos), sum(i.compress_size for i in infos)
    if total > most_bytes:
        raise ArchiveError(f"{path}: expected at most {most_bytes} bytes in all members, found {total}")
    if packed > path.stat().st_size:
        raise ArchiveError(f"{path}: expected members that do not overlap, found {packed} packed bytes")


def _problem(name: str) -> str | None:
    """What is wrong with a member's name."""
    parts = name.split("/")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root:
        return "expected a path inside the archive, found an absolute one"
    if ".." in parts or "\\" in name:
        return "expected a path inside the archive, found one that may leave it"
    if any(part in ("", ".") for part in parts) or any(ord(c) < 32 for c in name):
        return "expected a plain path of a file"
    return None


def _kind(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with a member's kind or size."""
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFREG):
        return "expected a plain file, found a link" if mode == stat.S_IFLNK else "expected a plain file"
    if info.flag_bits & 0x1:
        return "expected a plain file, found an encrypted one"
    packed, size = info.compress_size, info.file_size
    if size > MOST_GROWTH * max(packed, 1):
        return f"expected at most {MOST_GROWTH} times its packed {packed} bytes, found {size}"
    return None


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member, at most the number of bytes in the zip directory; never over an existing file."""
    target = folder / info.filename
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, target.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ArchiveError(f"{archive.filename}: member {info.filename!r}: damaged ({error})") from None
    except OSError as error:
        why = error.strerror or error
        raise ArchiveError(
            f"{archive.filename}: member {info.filename!r}: expected to write it, found: {why}"
        ) from None


def check_sums(folder: Path | str, names: list[str]) -> tuple[int, list[str]]:
    """Compare unpacked files with their ``SHA256SUMS``.

    Returns
    -------
    Number of files that agree, and one line per file that differs, is absent or is not listed.
    """
    folder = Path(folder)
    if SUMS not in names:
        return 0, [f"{SUMS}: expected a list of digests, found none"]
    listed: dict[str, str] = {}
    problems = []
    for number, line in enumerate((folder / SUMS).read_text(encoding="utf-8").splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or name in listed:
            problems.append(f"{SUMS}: line {number}: expected a digest and a name, each name once")
        listed[name] = digest
    present = set(names) - {SUMS}
    problems += [f"{name}: listed in {SUMS}, found no such file" for name in sorted(set(listed) - present)]
    problems += [f"{name}: not listed in {SUMS}" for name in sorted(present - set(listed))]
    found = {name: file_sha256(folder / name) for name in sorted(present & set(listed))}
    bad = {name: digest for name, digest in found.items() if digest != listed[name]}
    problems += [f"{n}: expected sha256 {listed[n][:12]}..., found {d[:12]}..." for n, d in bad.items()]
    return len(found) - len(bad), problems
