"""Sha256 of files and bytes, as hex digits."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sha256(path: Path | str) -> str:
    """Sha256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_sha256(content: Path | bytes) -> str:
    """Sha256 of a file, or of bytes in memory."""
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_sha256(content)
