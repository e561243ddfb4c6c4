"""Validate an RO-Crate without network: ``crate_validation.py FOLDER CONTEXT CACHE PROFILE SEVERITY``.

Runs in an environment that holds roc-validator (its pins do not fit those of the project). CONTEXT, a JSON-LD
file that maps the terms which a bundle uses, goes into the validator's HTTP cache in place of the published
contexts.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
import requests_cache
import urllib3

URLS = ("https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context")


class Local(requests.adapters.HTTPAdapter):
    """Answers every request with one text."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body

    def send(self, request: Any, **_: Any) -> requests.Response:
        """The text as JSON-LD."""
        head = {"Content-Type": "application/ld+json"}
        raw = urllib3.HTTPResponse(io.BytesIO(self.body), head, 200, preload_content=False)
        return self.build_response(request, raw)


def main(folder: str, context: str, cache: str, profile: str, severity: str) -> int:
    """Fill the cache and validate; the validator's exit code."""
    session = requests_cache.CachedSession(cache, backend="sqlite", expire_after=-1)
    session.mount("https://", Local(Path(context).read_bytes()))
    for url in URLS:
        session.get(url)
    session.close()
    command = Path(sys.executable).with_name("rocrate-validator")
    options = ["--offline", "--cache-path", cache, "--no-paging", "--verbose", "--skip-availability-check"]
    options += ["--profile-identifier", profile, "--requirement-severity", severity]
    return subprocess.run([str(command), "validate", *options, folder], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6]))
