"""Download of large rasters: resumable, verified, and never half a file under the final name."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
# HTTP answers that say "try again": time-outs, throttling and faults of the server.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_S = 120.0
PROGRESS_EVERY_S = 10.0


class DownloadError(ValueError):
    """A file could not be downloaded or is not the expected one."""


class _Transient(Exception):
    """A fault that another attempt may not meet."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass
class _Partial:
    """What is known of a partial file, kept beside it so that another process can go on.

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
            _facts(part).unlink()
    _sync_folder(destination.parent)
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
    with destination.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
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
    _write(record, f"{digest}  {name}\n")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system lets a folder be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _facts(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    for path in (part, _facts(part)):
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


def _resumable(url: str, part: Path, stream: FileIO) -> _Partial:
    """What is known of the partial file; it is emptied when its bytes cannot be gone on from."""
    try:
        known = _Partial(**json.loads(_facts(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        known = _Partial(url)
    size = stream.seek(0, os.SEEK_END)
    too_long = known.total is not None and size > known.total
    if known.url != url or known.validator is None or too_long:
        known = _Partial(url)
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
            _attempt(known, stream, part, timeout_s)
            return
        except _Transient as fault:
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


def _attempt(known: _Partial, stream: FileIO, part: Path, timeout_s: float) -> None:
    """One request, from the partial file's end on when it has any bytes."""
    have = stream.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity", "User-Agent": "lunar-bridge"}
    if have and known.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.validator}
    request = urllib.request.Request(known.url, headers=headers)  # noqa: S310 - _checked() saw the scheme
    try:
        response = _OPENER.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            stream.truncate(0)
            raise _Transient(
                "the server has no bytes after those already here; starting again", 0.0
            ) from None
        if error.code in TRANSIENT_STATUS:
            raise _Transient(f"HTTP {error.code} {error.reason}", _retry_after(error.headers)) from None
        raise DownloadError(
            f"{known.url}: expected the file, found HTTP {error.code} {error.reason}"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Transient(f"no connection ({getattr(error, 'reason', None) or error})") from None
    with response:
        fresh = _described(known.url, response)
        if response.status == 206:
            if not _continues(response, have, known, fresh):
                stream.truncate(0)
                raise _Transient(
                    f"asked for bytes {have}- of {known.total}, found "
                    f"{response.headers.get('Content-Range')!r} or another version; starting again",
                    0.0,
                )
            # A 206 may leave the validators out; they are still those of the first answer.
            fresh = known
        elif response.status == 200:
            have = 0
            stream.truncate(0)
            stream.seek(0)
        else:
            raise DownloadError(f"{known.url}: expected HTTP 200 or 206, found {response.status}")
        _check_content(response, known.url, part)
        _check_space(part, fresh.total, have)
        _write(_facts(part), json.dumps(asdict(fresh), sort_keys=True))
        _copy(response, stream, part, fresh, have)


def _described(url: str, response: Any) -> _Partial:
    """Validators and total size that an answer states."""
    headers = response.headers
    total = None
    if response.status == 206:
        match = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("Content-Range", "").strip())
        total = int(match.group(1)) if match else None
    elif (headers.get("Content-Length") or "").isdigit():
        total = int(headers["Content-Length"])
    return _Partial(url, headers.get("ETag"), headers.get("Last-Modified"), total)


def _continues(response: Any, have: int, known: _Partial, fresh: _Partial) -> bool:
    """Whether a partial answer continues the same version at the byte asked for."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", "").strip())
    return (
        match is not None
        and int(match.group(1)) == have
        and fresh.total == known.total
        and fresh.etag in (None, known.etag)
        and fresh.modified in (None, known.modified)
    )


def _check_content(response: Any, url: str, part: Path) -> None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise DownloadError(f"{url}: expected the file as it is, found content encoding {encoding!r}")
    kind = response.headers.get_content_type() if response.headers.get("Content-Type") else ""
    # Portals answer "200 OK" with a page when a file has moved; without a pin it would be trusted for ever.
    if kind == "text/html" and part.suffixes[-2:-1] not in ([".html"], [".htm"]):
        raise DownloadError(f"{url}: expected a data file, found a web page (Content-Type {kind})")


def _check_space(part: Path, total: int | None, have: int) -> None:
    if total is None:
        return
    free = shutil.disk_usage(part.parent).free
    if total - have > free:
        raise DownloadError(
            f"{part}: expected {(total - have) / 1e6:.0f} MB free on the disk, found {free / 1e6:.0f} MB"
        )


def _copy(response: Any, stream: FileIO, part: Path, fresh: _Partial, have: int) -> None:
    """Append the answer's body to the partial file, and make sure that all of it came."""
    progress = _Progress(fresh.url.rsplit("/", 1)[-1], have, fresh.total)
    stream.seek(have)
    while True:
        try:
            block = response.read(BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _Transient(f"the connection broke after {have} bytes ({error})") from None
        if not block:
            break
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError as error:
            raise DownloadError(f"{part}: expected to write {fresh.url}, found: {error}") from error
        have += len(block)
        progress.update(have)
    if fresh.total is not None and have != fresh.total:
        raise _Transient(f"the connection broke after {have} of {fresh.total} bytes")


def _retry_after(headers: Any) -> float | None:
    value = (headers.get("Retry-After") or "").strip()
    return float(value) if value.isdigit() else None


class _Progress:
    """Log lines "45 % (1170 of 2600 MB), 12.0 MB/s", at most one in ten seconds."""

    def __init__(self, name: str, have: int, total: int | None) -> None:
        self.name, self.total, self.start_bytes = name, total, have
        self.start = self.last = time.monotonic()
        if have:
            logger.info("%s: going on after %.0f MB", name, have / 1e6)

    def update(self, have: int) -> None:
        now = time.monotonic()
        if now - self.last < PROGRESS_EVERY_S and have != self.total:
            return
        self.last = now
        rate = (have - self.start_bytes) / 1e6 / max(now - self.start, 1e-3)
        if self.total:
            share = f"{100 * have / self.total:.0f} % ({have / 1e6:.0f} of {self.total / 1e6:.0f} MB)"
        else:
            share = f"{have / 1e6:.0f} MB"
        logger.info("%s: %s, %.1f MB/s", self.name, share, rate)


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http(s) only, and never from https down to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise DownloadError(
                f"{req.full_url}: expected to stay on {req.type}, found a redirect to {newurl}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_WebOnly)
