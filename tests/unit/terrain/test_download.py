"""Downloads from a local server that resumes, does not, breaks off, changes its file, or lies."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import logging
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.terrain.fetch import download
from pipeline.terrain.fetch.download import DownloadError, fetch

DATA = bytes(range(256)) * 16_384  # 4 MiB
OTHER = DATA[::-1]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """What it does is set on ``server.state``."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        state = self.server.state  # type: ignore[attr-defined]
        state.requests.append(dict(self.headers))
        number = len(state.requests) - 1
        if number < len(state.statuses) and state.statuses[number] != 200:
            self.send_response(state.statuses[number])
            for name, value in state.extra.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = state.versions[min(number, len(state.versions) - 1)]
        etag = state.etag(data)
        start = 0
        wanted = self.headers.get("Range") or ""
        honours = wanted and state.ranges and (state.ignore_if_range or self.headers.get("If-Range") == etag)
        if honours:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            begin = start + state.shift
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        if etag:
            self.send_header("ETag", etag)
        for name, value in state.extra.items():
            self.send_header(name, value)
        if state.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        stop = state.cuts[number] if number < len(state.cuts) else None
        self.wfile.write(body[:stop])
        self.wfile.flush()
        self.close_connection = True


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are part of it
    state = SimpleNamespace(
        versions=[DATA],
        cuts=[],
        statuses=[],
        ranges=True,
        ignore_if_range=False,
        shift=0,
        length=True,
        extra={},
        requests=[],
        etag=lambda data: f'"{digest(data)[:16]}"',
        url=f"http://127.0.0.1:{web.server_address[1]}/dem/LDEM.TIF",
    )
    web.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    web.shutdown()
    web.server_close()
    thread.join()


def get(server: SimpleNamespace, target: Path | str, sha256: str | None = None, **options: float) -> str:
    return fetch(server.url, target, sha256, **({"backoff_s": 0.0, "timeout_s": 5.0} | options))  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- the plain case -----------------------------------------------------------------------------------------


def test_pinned_digest_is_verified(server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "LDEM.TIF"
    assert get(server, target, digest(DATA).upper()) == digest(DATA)
    assert target.read_bytes() == DATA
    assert names(target.parent) == ["LDEM.TIF", "LDEM.TIF.sha256"]
    assert (target.parent / "LDEM.TIF.sha256").read_text() == f"{digest(DATA)}  LDEM.TIF\n"
    # A second call asks the server for nothing.
    assert get(server, str(target), digest(DATA)) == digest(DATA)
    assert len(server.requests) == 1


def test_wrong_pinned_digest_leaves_nothing(server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as error:
        get(server, tmp_path / "a.tif", "0" * 64)
    for word in (server.url, "0" * 64, digest(DATA)):
        assert word in str(error.value)
    assert names(tmp_path) == []


def test_existing_file_with_another_pinned_digest_is_kept_and_named(server, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="remove the file to download it again"):
        get(server, tmp_path / "a.tif", digest(DATA))
    assert (tmp_path / "a.tif").read_bytes() == b"mine"
    assert server.requests == []


def test_first_use_is_trusted_then_tampering_is_found(server, tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    assert get(server, target) == digest(DATA)
    assert get(server, target) == digest(DATA)
    target.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(DownloadError) as error:
        get(server, target)
    for word in (str(target), server.url, digest(DATA), "remove the file to download it again"):
        assert word in str(error.value)
    # Removed and downloaded again: the server is held to what was trusted first.
    target.unlink()
    server.versions = [OTHER]
    with pytest.raises(DownloadError, match="recorded in"):
        get(server, target)
    assert names(tmp_path) == ["a.tif.sha256"]
    server.versions = [DATA]
    assert get(server, target) == digest(DATA)


def test_pin_overrides_the_record(server, tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    (tmp_path / "a.tif.sha256").write_text(f"{'1' * 64}  a.tif\n")
    assert get(server, target, digest(DATA)) == digest(DATA)
    assert get(server, target) == digest(DATA)


def test_unreadable_record_is_an_error(server, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(DATA)
    (tmp_path / "a.tif.sha256").write_text("hello\n")
    with pytest.raises(DownloadError, match="expected a sha256 and a file name"):
        get(server, tmp_path / "a.tif")


# --- resuming -----------------------------------------------------------------------------------------------


def test_broken_connection_is_resumed_where_it_broke(server, tmp_path: Path) -> None:
    server.cuts = [1_500_000, 1_000_000]
    assert get(server, tmp_path / "a.tif", digest(DATA)) == digest(DATA)
    assert [r.get("Range") for r in server.requests] == [None, "bytes=1500000-", "bytes=2500000-"]
    assert server.requests[1]["If-Range"] == server.etag(DATA)
    assert names(tmp_path) == ["a.tif", "a.tif.sha256"]


def test_another_process_resumes(server, tmp_path: Path) -> None:
    server.cuts = [1_000_000]
    with pytest.raises(
        DownloadError, match="gave up after 1 failures: the connection broke after 1000000 of"
    ):
        get(server, tmp_path / "a.tif", digest(DATA), retries=0)
    assert names(tmp_path) == ["a.tif.part", "a.tif.part.json"]
    assert get(server, tmp_path / "a.tif", digest(DATA)) == digest(DATA)
    assert server.requests[-1]["Range"] == "bytes=1000000-"


def test_date_validates_where_the_etag_is_weak(server, tmp_path: Path) -> None:
    server.etag = lambda data: 'W/"weak"'
    server.extra = {"Last-Modified": "Tue, 01 Aug 2023 00:00:00 GMT"}
    server.ignore_if_range = True
    server.cuts = [1_000_000]
    assert get(server, tmp_path / "a.tif") == digest(DATA)
    assert server.requests[1]["If-Range"] == "Tue, 01 Aug 2023 00:00:00 GMT"


def test_no_validator_means_from_the_start(server, tmp_path: Path) -> None:
    server.etag = lambda data: None
    server.cuts = [1_000_000]
    assert get(server, tmp_path / "a.tif") == digest(DATA)
    assert [r.get("Range") for r in server.requests] == [None, None]


def test_server_without_ranges_starts_again(server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [1_000_000]
    assert get(server, tmp_path / "a.tif", digest(DATA)) == digest(DATA)
    assert server.requests[1]["Range"] == "bytes=1000000-"


@pytest.mark.parametrize("ignore_if_range", [False, True])
def test_file_that_changes_between_attempts_is_never_mixed(
    server, tmp_path: Path, ignore_if_range: bool
) -> None:
    server.versions = [DATA, OTHER]
    server.cuts = [1_000_000]
    server.ignore_if_range = ignore_if_range
    assert get(server, tmp_path / "a.tif") == digest(OTHER)


def test_range_that_starts_elsewhere_is_refused(server, tmp_path: Path) -> None:
    server.cuts = [1_000_000]
    server.shift = 5
    assert get(server, tmp_path / "a.tif") == digest(DATA)
    assert [r.get("Range") for r in server.requests] == [None, "bytes=1000000-", None]


def test_partial_file_of_another_address_is_not_used(server, tmp_path: Path) -> None:
    server.cuts = [1_000_000]
    with pytest.raises(DownloadError):
        get(server, tmp_path / "a.tif", retries=0)
    server.url += "?version=2"
    assert get(server, tmp_path / "a.tif") == digest(DATA)
    assert "Range" not in server.requests[-1]


def test_complete_partial_file_needs_no_request(server, tmp_path: Path) -> None:
    server.cuts = [1_000_000]
    with pytest.raises(DownloadError):
        get(server, tmp_path / "a.tif", retries=0)
    # As if the process had died between the last byte and the rename.
    (tmp_path / "a.tif.part").write_bytes(DATA)
    assert get(server, tmp_path / "a.tif", digest(DATA)) == digest(DATA)
    assert len(server.requests) == 1


def test_partial_file_longer_than_the_whole_is_dropped(server, tmp_path: Path) -> None:
    server.cuts = [1_000_000]
    with pytest.raises(DownloadError):
        get(server, tmp_path / "a.tif", retries=0)
    (tmp_path / "a.tif.part").write_bytes(DATA + b"more")
    assert get(server, tmp_path / "a.tif", digest(DATA)) == digest(DATA)


def test_shorter_new_version_answers_416(server, tmp_path: Path) -> None:
    server.versions = [DATA, DATA[:500_000]]
    server.cuts = [1_000_000]
    server.ignore_if_range = True
    assert get(server, tmp_path / "a.tif") == digest(DATA[:500_000])


# --- faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 403, 410])
def test_refusal_is_an_error_at_once(server, tmp_path: Path, status: int) -> None:
    server.statuses = [status] * 9
    with pytest.raises(DownloadError, match=f"LDEM.TIF: expected the file, found HTTP {status}"):
        get(server, tmp_path / "a.tif")
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_passing_faults_are_tried_again(server, tmp_path: Path) -> None:
    server.statuses = [503, 500, 429]
    assert get(server, tmp_path / "a.tif") == digest(DATA)
    assert len(server.requests) == 4


def test_lasting_faults_end(server, tmp_path: Path) -> None:
    server.statuses = [503] * 99
    with pytest.raises(DownloadError, match="gave up after 4 failures: HTTP 503"):
        get(server, tmp_path / "a.tif", retries=3)
    assert len(server.requests) == 4


def test_waits_double_and_heed_the_server(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    server.statuses = [503, 503, 503]
    get(server, tmp_path / "a.tif", backoff_s=1.5)
    assert waits == [1.5, 3.0, 6.0]
    waits.clear()
    server.requests.clear()
    server.statuses, server.extra = [429], {"Retry-After": "7"}
    get(server, tmp_path / "b.tif")
    assert waits == [7.0]
    # A wait that cannot be read is none.
    waits.clear()
    server.requests.clear()
    server.extra = {"Retry-After": "soon"}
    get(server, tmp_path / "c.tif", backoff_s=2.5)
    assert waits == [2.5]


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no connection"):
        fetch("http://127.0.0.1:9/a.tif", tmp_path / "a.tif", retries=1, backoff_s=0.0, timeout_s=2.0)
    assert names(tmp_path) == []


def test_unknown_length_is_accepted(server, tmp_path: Path) -> None:
    server.length = False
    assert get(server, tmp_path / "a.tif", digest(DATA)) == digest(DATA)


def test_web_page_instead_of_the_file(server, tmp_path: Path) -> None:
    server.extra = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(DownloadError, match="expected a data file, found a web page"):
        get(server, tmp_path / "a.tif")
    assert names(tmp_path) == []


def test_compressed_transfer_is_refused(server, tmp_path: Path) -> None:
    server.extra = {"Content-Encoding": "gzip"}
    with pytest.raises(DownloadError, match="content encoding 'gzip'"):
        get(server, tmp_path / "a.tif")


def test_disk_that_is_too_small_is_seen_beforehand(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(DownloadError, match="expected 4 MB free on the disk, found 1 MB"):
        get(server, tmp_path / "a.tif")
    assert names(tmp_path) == []


def test_disk_that_fills_up_leaves_no_final_file(server, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(DownloadError, match=r"a\.tif\.part: expected to write http"):
            get(server, tmp_path / "a.tif")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "a.tif" not in names(tmp_path)
    assert len(server.requests) == 1
    # With room again it goes on.
    assert get(server, tmp_path / "a.tif", digest(DATA)) == digest(DATA)
    assert server.requests[-1]["Range"].startswith("bytes=")


def test_two_downloads_of_one_file_do_not_mix(server, tmp_path: Path) -> None:
    with (tmp_path / "a.tif.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process downloading it"):
            get(server, tmp_path / "a.tif")
    assert get(server, tmp_path / "a.tif") == digest(DATA)


# --- arguments and addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/a.tif", "a.tif", "http:///a.tif", "data:,x"]
)
def test_only_web_addresses(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="expected an http or https address"):
        fetch(url, tmp_path / "a.tif")
    assert names(tmp_path) == []


def test_malformed_pin(server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="expected a sha256 of 64 hex digits, found 'abc'"):
        get(server, tmp_path / "a.tif", "abc")
    assert server.requests == []


def test_redirects_stay_on_the_web(server, tmp_path: Path) -> None:
    server.statuses, server.extra = [302], {"Location": server.url + "?moved"}
    assert get(server, tmp_path / "a.tif") == digest(DATA)
    server.requests.clear()
    server.extra = {"Location": "ftp://127.0.0.1/a.tif"}
    with pytest.raises(DownloadError, match="found a redirect to ftp"):
        get(server, tmp_path / "b.tif")


def test_progress_is_logged(
    server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PROGRESS_EVERY_S", 0.0)
    server.cuts = [2_500_000]
    with caplog.at_level(logging.INFO, logger="pipeline.terrain"):
        get(server, tmp_path / "a.tif")
    assert "LDEM.TIF: going on after 2 MB" in caplog.text
    assert "LDEM.TIF: 100 % (4 of 4 MB)" in caplog.text
    assert "now recorded" in caplog.text
