"""A run's own folder: the record of its stages, and links to their results."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from pipeline.storage.atomic import write_json


def write_run(record: str, out: Path) -> None:
    """Write ``stages.json`` and links to the store, so that users can browse a run.

    Parameters
    ----------
    record : JSON of `pipeline.provenance.plan.Plan.record`. out : ``results/<run>/stages.json``.
    """
    content = json.loads(record)
    links = out.parent / "store"
    links.mkdir(parents=True, exist_ok=True)
    for old in links.iterdir():
        if old.is_symlink():
            old.unlink()
    for name, stage in content["stages"].items():
        folder = Path(stage["folder"])
        if folder.parts[:2] == ("results", "store"):
            with suppress(FileExistsError):
                (links / name).symlink_to(os.path.relpath(folder, links))
    write_json(out, content)
