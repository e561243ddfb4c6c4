"""One HTTP request for a large file: continue a partial file, or start it again, and say what went wrong."""

from __future__ import annotations

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
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from pipeline.storage.atomic import write_text

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
# HTTP answers that say "try again": time-outs, throttling and faults of the server.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
PROGRESS_EVERY_S = 10.0


class DownloadError(ValueError):
    """A file could not be downloaded or is not the expected one."""


class TransientError(Exception):
    """A fault that another attempt may not meet."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass
class Partial:
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


def facts_path(part: Path) -> Path:
    """Where the `Partial` of a partial file is kept."""
    return part.with_name(part.name + ".json")


def transfer(known: Partial, stream: FileIO, part: Path, timeout_s: float) -> None:
    """Send one request, from the partial file's end on when it has any bytes, and append what comes.

    What the server says of the file's version is written beside the partial file before any byte of it.

    Parameters
    ----------
    known : Partial
        Version and size of the bytes that are there already.
    stream : FileIO
        The partial file, open for reading and writing.
    part : path
        Its name.
    timeout_s : float
        Longest silence of the server, seconds.

    Raises
    ------
    TransientError
        The connection failed or broke, or the server asks to try again.
    DownloadError
        The server refuses, does not send the file itself, or the disk is full.
    """
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
            raise TransientError(
                "the server has no bytes after those already here; starting again", 0.0
            ) from None
        if error.code in TRANSIENT_STATUS:
            raise TransientError(f"HTTP {error.code} {error.reason}", _retry_after(error.headers)) from None
        raise DownloadError(
            f"{known.url}: expected the file, found HTTP {error.code} {error.reason}"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"no connection ({getattr(error, 'reason', None) or error})") from None
    with response:
        fresh = _described(known.url, response)
        if response.status == 206:
            if not _continues(response, have, known, fresh):
                stream.truncate(0)
                raise TransientError(
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
        write_text(facts_path(part), json.dumps(asdict(fresh), sort_keys=True))
        _copy(response, stream, part, fresh, have)


def _described(url: str, response: Any) -> Partial:
    """Validators and total size that an answer states."""
    headers = response.headers
    total = None
    if response.status == 206:
        match = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("Content-Range", "").strip())
        total = int(match.group(1)) if match else None
    elif (headers.get("Content-Length") or "").isdigit():
        total = int(headers["Content-Length"])
    return Partial(url, headers.get("ETag"), headers.get("Last-Modified"), total)


def _continues(response: Any, have: int, known: Partial, fresh: Partial) -> bool:
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


def _copy(response: Any, stream: FileIO, part: Path, fresh: Partial, have: int) -> None:
    """Append the answer's body to the partial file, and make sure that all of it came."""
    progress = _Progress(fresh.url.rsplit("/", 1)[-1], have, fresh.total)
    stream.seek(have)
    while True:
        try:
            block = response.read(BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"the connection broke after {have} bytes ({error})") from None
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
    if fresh.total is None and not response.chunked:
        logger.warning("%s: the server states no length, so a file cut short cannot be told", fresh.url)
    if fresh.total is not None and have != fresh.total:
        raise TransientError(f"the connection broke after {have} of {fresh.total} bytes")


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
