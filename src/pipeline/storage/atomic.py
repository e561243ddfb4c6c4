"""Files that are written atomically: complete, or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Context with a temporary path beside `path`; on success it is synced to disk and renamed to `path`.

    On an error the temporary file is removed and `path` is left as it was; an `OSError` without a file name
    (e.g. a full disk) gets the name of `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hosts that share a disk may have processes of one number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno is not None:  # without errno, a file name would replace the message
            error.filename = error.filename or str(path)
        raise
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename durable, if the file system supports syncing folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_zip(path: Path | str, members: Mapping[str, Path | bytes], kind: int = 0) -> None:
    """Write a zip atomically: stored, sorted and dated 1980-01-01, so that equal members give equal bytes.

    Parameters
    ----------
    path : zip to write. members : name in the zip -> file to copy, or bytes.
    kind : file type bits of the members' modes, e.g. `stat.S_IFREG`.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            content, info = members[name], zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, (kind | 0o644) << 16
            if isinstance(content, bytes):
                archive.writestr(info, content)
                continue
            info.file_size = content.stat().st_size
            with content.open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically: sorted keys, one-space indent, no NaN, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path | str, schema: str | None = None) -> Any:
    """Read JSON and check its ``schema`` entry.

    Parameters
    ----------
    path : file. schema : expected entry, such as ``split/1``; None accepts any JSON.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not JSON or its schema is not the expected one.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, found a file that does not parse ({error})") from None
    if schema is not None:
        found = value.get("schema") if isinstance(value, dict) else None
        if found != schema:
            raise ValueError(f"{path}: expected schema {schema!r}, found {found!r}")
    return value
