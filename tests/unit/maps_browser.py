"""A real browser for the tests of pages: headless Chromium, driven over its own protocol through pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "chrome-headless-shell",
)
KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Escape": 27, "Home": 36,
    "End": 35,
}  # fmt: skip
MISSING = "no browser: set CHROME to a Chromium or Chrome, or install one (Debian: apt-get install chromium)"


def find_chrome() -> str | None:
    """A Chromium: that of the variable CHROME, one on the path, or one that playwright brought."""
    if own := os.environ.get("CHROME"):
        return shutil.which(own)
    for name in NAMES:
        if found := shutil.which(name):
            return found
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright")
    for name in ("chrome", "headless_shell", "chrome-headless-shell"):
        for path in sorted(cache.glob(f"chromium*/*/{name}")):
            return str(path)
    return None


class Browser:
    """One page of a headless Chromium.

    Parameters
    ----------
    chrome : the program. limit_s : longest time that one step may take. size : of the window.
    dark : whether the page is told that dark colours are preferred.
    """

    def __init__(
        self, chrome: str, limit_s: float = 90, size: tuple[int, int] = (1350, 1000), dark: bool = False
    ) -> None:
        self._chrome, self._limit, self._size, self._dark = chrome, limit_s, size, dark
        self._last, self._buffer, self._session = 0, b"", ""
        self.requests: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> Browser:
        self._home = tempfile.mkdtemp(prefix="browser.")
        (theirs_in, self._to), (self._from, theirs_out) = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4; copies above both are moved there.
        import fcntl

        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 20) for one in (theirs_in, theirs_out)]
        nowhere = os.open(os.devnull, os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, nowhere, i) for i in (0, 1, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
        command = [
            self._chrome, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={self._home}",
            f"--window-size={self._size[0]},{self._size[1]}", "about:blank",
        ]  # fmt: skip
        self._pid = os.posix_spawn(self._chrome, command, os.environ, file_actions=actions)
        for one in (theirs_in, theirs_out, nowhere, *high):
            os.close(one)
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        if self._dark:
            dark = [{"name": "prefers-color-scheme", "value": "dark"}]
            self.send("Emulation.setEmulatedMedia", features=dark)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = ""
        try:
            self.send("Browser.close")
        except (OSError, TimeoutError):
            os.kill(self._pid, 9)
        os.close(self._to)
        os.close(self._from)
        os.waitpid(self._pid, 0)
        shutil.rmtree(self._home, ignore_errors=True)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + self._limit
        while True:
            answer = self._read(until)
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise OSError(f"{method}: {answer['error']}")
                return answer["result"]

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            more = os.read(self._from, 1 << 20)
            if not more:
                raise OSError("the browser has ended")
            self._buffer += more
        first, self._buffer = self._buffer.split(b"\0", 1)
        said = json.loads(first)
        method, more = said.get("method"), said.get("params", {})
        logged = method == "Log.entryAdded" and more["entry"]["level"] == "error"
        if method == "Network.requestWillBeSent":
            self.requests.append(more["request"]["url"][:200])
        elif logged or method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(more)[:2000])
        return said

    def open(self, path: Path) -> None:
        """Load a file and wait until it and its pictures are there."""
        self.send("Page.navigate", url=path.as_uri())
        until = time.monotonic() + self._limit
        while self.value("document.readyState + location.protocol") != "completefile:":
            if time.monotonic() > until:
                raise TimeoutError(f"{path}: not loaded")
            time.sleep(0.05)

    def value(self, script: str) -> Any:
        """The value of an expression on the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of an element."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).textContent"))

    def box(self, selector: str) -> dict[str, float]:
        """Where an element lies in the window: x, y, width and height."""
        return dict(
            self.value(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
        )

    def mouse(self, kind: str, x: float, y: float, held: bool = False) -> None:
        """A real event of the mouse: ``Moved``, ``Pressed`` or ``Released``."""
        button: dict[str, Any] = {"button": "left" if held or kind != "Moved" else "none"}
        button["clickCount"] = int(kind != "Moved")
        buttons = 1 if held or kind == "Pressed" else 0
        self.send("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, buttons=buttons, **button)

    def click(self, x: float, y: float) -> None:
        """Move to a place, press and release."""
        for kind in ("Moved", "Pressed", "Released"):
            self.mouse(kind, x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 5) -> None:
        """Press at a place, move in steps, and release."""
        self.mouse("Moved", *start)
        self.mouse("Pressed", *start)
        for i in range(1, steps + 1):
            at = [a + (b - a) * i / steps for a, b in zip(start, end, strict=True)]
            self.mouse("Moved", *at, held=True)
        self.mouse("Released", *end)

    def key(self, name: str) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            code = KEYS[name]
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path) -> None:
        """A picture of the whole page."""
        done = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(done["data"]))
