"""Download of large rasters: resumable, verified, and never half a file under the final name."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from pipeline.storage.atomic import sync_folder, write_text
from pipeline.storage.sha256 import file_sha256
from pipeline.terrain.fetch.transfer import DownloadError, Partial, TransientError, facts_path, transfer

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 120.0


def fetch(
    url: str,
    destination: Path | str,
    sha256: str | None = None,
    *,
    timeout_s: float = 60.0,
    retries: int = 5,
    backoff_s: float = 1.0,
) -> str:
    """Download a file unless it is there already, and verify it.

    The bytes gather in ``<destination>.part``; an interrupted download goes on from there, also in a later
    process, when the server can prove (``If-Range``) that the file is still the same, and starts again
    otherwise. Without a pinned digest the first download is trusted: its digest is written to
    ``<destination>.sha256`` and every later run is held to it.

    Parameters
    ----------
    url : str
        An http or https address.
    destination : path
        Where the file goes; it appears there complete and verified or not at all.
    sha256 : str, optional
        Pinned digest, 64 hex digits.
    timeout_s : float
        Longest silence of the server, seconds.
    retries : int
        Attempts after the first one that may fail in a row without a byte gained.
    backoff_s : float
        Wait before the first retry, seconds; it doubles each time.

    Returns
    -------
    str
        sha256 of the file.

    Raises
    ------
    DownloadError
        The URL or pinned digest is malformed, the server refuses or keeps failing, the disk is full, another
        process is at it, or the digest is not the expected one.
    """
    destination = Path(destination)
    expected = _checked(url, sha256)
    record = destination.with_name(destination.name + ".sha256")
    if destination.is_file():
        return _verify_existing(url, destination, record, expected)
    part = destination.with_name(destination.name + ".part")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with _locked(part) as stream:
        _download(url, stream, part, timeout_s, retries, backoff_s)
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        trusted = expected or _recorded(record)
        if trusted is not None and found != trusted:
            _discard(part)
            source = "pinned in the config (inputs.sha256)" if expected else f"recorded in {record}"
            raise DownloadError(
                f"{url}: expected sha256 {trusted}, {source}, found {found}; the download was discarded"
                + ("" if expected else f"; if the new version is wanted, remove {record} and run again")
            )
        _record(record, destination.name, found)
        os.fsync(stream.fileno())
        part.replace(destination)
        with suppress(FileNotFoundError):
            facts_path(part).unlink()
    sync_folder(destination.parent)
    logger.info("%s: sha256 %s (%s)", destination, found, "pinned" if expected else "now recorded")
    return found


def _checked(url: str, sha256: str | None) -> str | None:
    """Refuse what is no web address or no digest; return the digest in lower case."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadError(f"{url}: expected an http or https address, found scheme {parts.scheme!r}")
    if sha256 is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise DownloadError(f"{url}: expected a sha256 of 64 hex digits, found {sha256!r}")
    return sha256.lower()


def _verify_existing(url: str, destination: Path, record: Path, expected: str | None) -> str:
    """Digest of a complete file; an error when it is not the pinned or recorded one."""
    found = file_sha256(destination)
    trusted = expected or _recorded(record)
    if trusted is not None and found != trusted:
        source = "pinned in the config (inputs.sha256)" if expected else f"recorded in {record}"
        advice = "remove the file to download it again" + ("" if expected else f", or {record} to trust it")
        raise DownloadError(
            f"{destination} ({url}): expected sha256 {trusted}, {source}, found {found}; {advice}"
        )
    if trusted is None or _recorded(record) != found:
        _record(record, destination.name, found)
    return found


def _recorded(record: Path) -> str | None:
    """Digest in a ``.sha256`` file, or None when there is no such file."""
    try:
        text = record.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    words = text.split()
    if not words or not re.fullmatch(r"[0-9a-f]{64}", words[0]):
        raise DownloadError(f"{record}: expected a sha256 and a file name, found {text[:80]!r}")
    return words[0]


def _record(record: Path, name: str, digest: str) -> None:
    """Write a ``.sha256`` file, in the form that ``sha256sum --check`` reads."""
    write_text(record, f"{digest}  {name}\n")


def _discard(part: Path) -> None:
    for path in (part, facts_path(part)):
        with suppress(FileNotFoundError):
            path.unlink()


@contextmanager
def _locked(part: Path) -> Iterator[FileIO]:
    """Open the partial file for one process alone: two writers would mix their bytes.

    Unbuffered, so that a full disk shows where the bytes are written and not when the file is closed.
    """
    with FileIO(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(
                f"{part}: expected to be alone, found another process downloading it"
            ) from None
        except OSError:
            logger.warning("%s: this file system has no locks", part)
        # Between our open and our lock another process may have moved this very file into place.
        if not (part.exists() and os.path.samestat(os.fstat(stream.fileno()), part.stat())):
            raise DownloadError(
                f"{part}: expected to be alone, found that another process has just finished it"
            )
        try:
            yield stream
        finally:
            if os.fstat(stream.fileno()).st_size == 0:
                _discard(part)


def _resumable(url: str, part: Path, stream: FileIO) -> Partial:
    """What is known of the partial file; it is emptied when its bytes cannot be gone on from."""
    try:
        known = Partial(**json.loads(facts_path(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        known = Partial(url)
    size = stream.seek(0, os.SEEK_END)
    too_long = known.total is not None and size > known.total
    if known.url != url or known.validator is None or too_long:
        known = Partial(url)
        stream.truncate(0)
    return known


def _download(url: str, stream: FileIO, part: Path, timeout_s: float, retries: int, backoff_s: float) -> None:
    """Attempt after attempt until the partial file is whole."""
    failed = 0
    while True:
        known = _resumable(url, part, stream)
        before = stream.seek(0, os.SEEK_END)
        if known.total is not None and before == known.total and before > 0:
            return
        try:
            transfer(known, stream, part, timeout_s)
            return
        except TransientError as fault:
            gained = stream.seek(0, os.SEEK_END) > before
            failed = 1 if gained else failed + 1
            if failed > retries:
                raise DownloadError(
                    f"{url}: expected a download, gave up after {failed} failures: {fault}"
                ) from None
            wait = fault.wait_s if fault.wait_s is not None else backoff_s * 2.0 ** (failed - 1)
            wait = min(wait, LONGEST_WAIT_S)
            logger.warning("%s: %s; trying again in %.0f s", url, fault, wait)
            time.sleep(wait)
