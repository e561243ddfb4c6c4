"""Download of large rasters: resumable, verified, and never incomplete under the final name."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from urllib3 import Retry
from urllib3.exceptions import HTTPError, InvalidHeader

from pipeline.storage.atomic import sync_folder, write_text
from pipeline.storage.sha256 import file_sha256

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
# HTTP status codes after which a retry may succeed: time-outs, throttling and server errors.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
PROGRESS_EVERY_S = 10.0
LONGEST_WAIT_S = 120


class DownloadError(ValueError):
    """A file could not be downloaded or is not the expected one."""


class TransientError(Exception):
    """An error after which another attempt may succeed; `wait_s` is the server's requested wait, seconds."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass
class Partial:
    """State of a partial file, stored beside it so that another process can resume the download.

    Attributes
    ----------
    url : where the bytes came from.
    etag, modified : the server's validators of that version, or null.
    total : size of the whole file, bytes, or null.
    """

    url: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """Value for ``If-Range``: a strong ETag, else the date; null when the server gave neither.

        A weak ETag does not promise equal bytes (RFC 9110, 13.1.5).
        """
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified


def fetch(
    url: str,
    destination: Path | str,
    sha256: str | None = None,
    *,
    timeout_s: float = 60.0,
    retries: int = 5,
    backoff_s: float = 1.0,
) -> str:
    """Download a file unless it exists already, and verify it.

    Bytes are collected in ``<destination>.part``. An interrupted download is resumed there, also by a later
    process, if the server confirms (``If-Range``) that the file is unchanged; otherwise it starts again.
    Without a pinned digest the first download is trusted: its digest is written to ``<destination>.sha256``
    and later runs must match it.

    Parameters
    ----------
    url : str
        An http or https address.
    destination : path
        File to write; it appears complete and verified, or not at all.
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
        If the URL or pinned digest is malformed, the server refuses or keeps failing, the disk is full,
        another process downloads the same file, or the digest is not the expected one.
    """
    destination = Path(destination)
    expected = _checked(url, sha256)
    record = destination.with_name(destination.name + ".sha256")
    if destination.is_file():
        found = file_sha256(destination)
        _verify(f"{destination} ({url})", found, expected, record)
        return found
    part = destination.with_name(destination.name + ".part")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with _locked(part) as stream:
        _download(url, stream, part, timeout_s, retries, backoff_s)
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        _verify(url, found, expected, record, part)
        os.fsync(stream.fileno())
        part.replace(destination)
        _facts_path(part).unlink(missing_ok=True)
    sync_folder(destination.parent)
    logger.info("%s: sha256 %s (%s)", destination, found, "pinned" if expected else "now recorded")
    return found


def _checked(url: str, sha256: str | None) -> str | None:
    """Refuse a malformed address or digest; return the digest in lower case."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadError(f"{url}: expected an http or https address, found scheme {parts.scheme!r}")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise DownloadError(f"{url}: expected a sha256 of 64 hex digits, found {sha256!r}")
    return sha256 and sha256.lower()


def _verify(name: str, found: str, pinned: str | None, record: Path, part: Path | None = None) -> None:
    """Compare a digest with the pinned one, else with the ``.sha256`` file; write that file if necessary.

    The file has the format of ``sha256sum --check``. A partial file with another digest is removed.
    """
    text = record.read_text(encoding="utf-8") if record.is_file() else None
    trusted, source = pinned, "pinned in the config (inputs.sha256)"
    if not pinned and text is not None:
        trusted, source = (text.split() or [""])[0], f"recorded in {record}"
        if not re.fullmatch(r"[0-9a-f]{64}", trusted):
            raise DownloadError(f"{record}: expected a sha256 and a file name, found {text[:80]!r}")
    if trusted and found != trusted:
        remedy = "remove the file to download it again" + ("" if pinned else f", or {record} to trust it")
        if part:
            _discard(part)
            remedy = "the download was discarded"
            remedy += "" if pinned else f"; if the new version is wanted, remove {record} and run again"
        raise DownloadError(f"{name}: expected sha256 {trusted}, {source}, found {found}; {remedy}")
    if text is None or text.split()[:1] != [found]:
        write_text(record, f"{found}  {record.stem}\n")


def _discard(part: Path) -> None:
    for path in (part, _facts_path(part)):
        path.unlink(missing_ok=True)


@contextmanager
def _locked(part: Path) -> Iterator[FileIO]:
    """Open and lock the partial file, so that only one process writes it.

    Unbuffered, so that a full disk raises an error on writing and not on closing the file.
    """
    alone = f"{part}: expected to be alone"
    with FileIO(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(f"{alone}, found another process downloading it") from None
        except OSError:
            logger.warning("%s: this file system has no locks", part)
        # Between opening and locking, another process may have moved this file to its final name.
        if not (part.exists() and os.path.samestat(os.fstat(stream.fileno()), part.stat())):
            raise DownloadError(f"{alone}, found that another process has just finished it")
        try:
            yield stream
        finally:
            if stream.seek(0, os.SEEK_END) == 0:
                _discard(part)


def _download(url: str, stream: FileIO, part: Path, timeout_s: float, retries: int, backoff_s: float) -> None:
    """Make attempts until the partial file is complete."""
    # urllib3's Retry repeats the same request; here each attempt requests the bytes that are still missing.
    failed = 0
    while True:
        known, have = _resumable(url, part, stream)
        if have and have == known.total:
            return
        try:
            return _attempt(known, have, stream, part, timeout_s)
        except TransientError as fault:
            failed = 1 if stream.seek(0, os.SEEK_END) > have else failed + 1
            if failed > retries:
                message = f"expected a download, gave up after {failed} failures: {fault}"
                raise DownloadError(f"{url}: {message}") from None
            wait = backoff_s * 2.0 ** (failed - 1) if fault.wait_s is None else fault.wait_s
            wait = min(wait, LONGEST_WAIT_S)
            logger.warning("%s: %s; trying again in %.0f s", url, fault, wait)
            time.sleep(wait)


def _facts_path(part: Path) -> Path:
    """File with the `Partial` of a partial file."""
    return part.with_name(part.name + ".json")


def _resumable(url: str, part: Path, stream: FileIO) -> tuple[Partial, int]:
    """State and size of the partial file; it is emptied if the download cannot be resumed from it."""
    known, size = Partial(url), stream.seek(0, os.SEEK_END)
    with suppress(FileNotFoundError, ValueError, TypeError):
        known = Partial(**json.loads(_facts_path(part).read_text(encoding="utf-8")))
    too_long = known.total is not None and size > known.total
    if known.url != url or known.validator is None or too_long:
        stream.truncate(0)
        return Partial(url), 0
    return known, size


def _attempt(known: Partial, have: int, stream: FileIO, part: Path, timeout_s: float) -> None:
    """Send one request for the missing bytes, and append them to the partial file.

    The server's validators of the version are stored beside the partial file before its first byte.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "lunar-bridge"}
    if have and known.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.validator}
    try:
        response = _Web().get(known.url, headers=headers, timeout=timeout_s, stream=True)
    except requests.RequestException as error:
        raise TransientError(f"no connection ({error})") from None
    with response:
        status = f"HTTP {response.status_code} {response.reason}"
        if response.status_code == 416 and have:
            stream.truncate(0)
            raise TransientError("the server has no bytes after those already here; starting again", 0.0)
        if response.status_code in TRANSIENT_STATUS:
            wait_s = None
            with suppress(InvalidHeader):
                wait_s = Retry().get_retry_after(response.raw)
            raise TransientError(status, wait_s)
        if response.status_code not in (200, 206):
            raise DownloadError(f"{known.url}: expected the file, found {status}")
        # A 206 response may omit the validators; they are still those of the first response.
        fresh = known
        if response.status_code == 200:
            etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
            fresh, have = Partial(known.url, etag, modified, response.raw.length_remaining), 0
            stream.truncate(0)
        elif not _continues(response, have, known):
            stream.truncate(0)
            given = response.headers.get("Content-Range")
            message = f"asked for bytes {have}- of {known.total}, found {given!r} or another version"
            raise TransientError(f"{message}; starting again", 0.0)
        _check_content(response, fresh, part, have)
        write_text(_facts_path(part), json.dumps(asdict(fresh), sort_keys=True))
        _copy(response, stream, part, fresh, have)


def _continues(response: requests.Response, have: int, known: Partial) -> bool:
    """Whether a partial response continues the same version at the requested byte."""
    headers = response.headers
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
    return (
        found is not None
        and found.groups() == (str(have), "*" if known.total is None else str(known.total))
        and headers.get("ETag") in (None, known.etag)
        and headers.get("Last-Modified") in (None, known.modified)
    )


def _check_content(response: requests.Response, fresh: Partial, part: Path, have: int) -> None:
    """Refuse a response that is not the file itself, or does not fit on the disk."""
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise DownloadError(f"{fresh.url}: expected the file as it is, found content encoding {encoding!r}")
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    # Portals answer "200 OK" with a web page if a file has moved; without a pin it would always be trusted.
    if kind == "text/html" and part.suffixes[-2:-1] not in ([".html"], [".htm"]):
        raise DownloadError(f"{fresh.url}: expected a data file, found a web page (Content-Type {kind})")
    needed, free = (fresh.total or 0) - have, shutil.disk_usage(part.parent).free
    if needed > free:
        wanted = f"expected {needed / 1e6:.0f} MB free on the disk"
        raise DownloadError(f"{part}: {wanted}, found {free / 1e6:.0f} MB")


def _copy(response: requests.Response, stream: FileIO, part: Path, fresh: Partial, have: int) -> None:
    """Append the response's body to the partial file, and check that it is complete.

    Logs lines "45 % (1170 of 2600 MB), 12.0 MB/s", at most one per `PROGRESS_EVERY_S` seconds.
    """
    name, total, before = fresh.url.rsplit("/", 1)[-1], fresh.total, have
    if have:
        logger.info("%s: going on after %.0f MB", name, have / 1e6)
    start = last = time.monotonic()
    stream.seek(have)
    while True:
        try:
            block = response.raw.read(BLOCK_BYTES, decode_content=False)
        except HTTPError as error:
            of = "" if total is None else f"of {total} "
            raise TransientError(f"the connection broke after {have} {of}bytes ({error})") from None
        if not block:
            break
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError as error:
            raise DownloadError(f"{part}: expected to write {fresh.url}, found: {error}") from error
        have += len(block)
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY_S or have == total:
            last = now
            share = f"{100 * have / total:.0f} % ({have / 1e6:.0f} of {total / 1e6:.0f} MB)" if total else ""
            rate = (have - before) / 1e6 / max(now - start, 1e-3)
            logger.info("%s: %s, %.1f MB/s", name, share or f"{have / 1e6:.0f} MB", rate)
    if total is None and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
        logger.warning("%s: the server states no length, so a file cut short cannot be told", fresh.url)


class _Web(requests.Session):
    """Follows redirects to http(s) only, and never from https down to http."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Target of a redirect, or None."""
        target = super().get_redirect_target(resp)
        if target:
            here, there = urlsplit(resp.url).scheme, urlsplit(urljoin(resp.url, target)).scheme
            if there not in ("http", "https") or (here, there) == ("https", "http"):
                raise DownloadError(f"{resp.url}: expected to stay on {here}, found a redirect to {target}")
        return target
