"""Stage ``bundle``: what a reviewer gets, as one reproducible archive."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.atomic import read_json, replacing

_EPOCH = (1980, 1, 1, 0, 0, 0)
SOURCE = ("Snakefile", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "Makefile")
FOLDERS = {
    "workflow": (".smk", ".py"),
    "src": (".py",),
    "config": (".yaml", ".md"),
    "envs": (".txt", ".yaml", ".def"),
}


def write_bundle(inputs: Mapping[str, Any], out: Path | str, root: Path | str = ".") -> None:
    """Write the run's records, metrics, report, region, weights and source snapshot as one zip.

    Same results, same bytes: entries are sorted and dated 1980-01-01. ``SHA256SUMS`` lists every member.

    Parameters
    ----------
    inputs : the rule's named inputs. out : archive to write. root : of the project.
    """
    members = dict(_members(inputs, Path(root)))
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(members.items()))
    members["SHA256SUMS"] = sums.encode()
    with replacing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(members.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data, compresslevel=6)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _members(inputs: Mapping[str, Any], root: Path) -> Iterator[tuple[str, bytes]]:
    """Name in the archive and bytes of every member."""
    stages = read_json(inputs["stages"], "stages/1")
    yield "stages.json", Path(inputs["stages"]).read_bytes()
    yield "config.json", (json.dumps(stages["config"], indent=1, sort_keys=True) + "\n").encode()
    yield "report.html", Path(inputs["report"]).read_bytes()
    for path in _listed(inputs["metrics"]):
        yield f"evaluation/{Path(path).name}", Path(path).read_bytes()
    for path in _listed(inputs["region"]):
        yield f"region/{Path(path).name}", Path(path).read_bytes()
    for path in _listed(inputs["manifests"]):
        yield f"manifests/{Path(path).parent.parent.name}.json", Path(path).read_bytes()
    for path in _listed(inputs["models"]):
        yield f"models/{Path(path).parent.parent.name}/{Path(path).name}", Path(path).read_bytes()
    for name in ("pretrained", "pretrained_vae"):
        for path in _listed(inputs.get(name, [])):
            yield f"models/{name}/{Path(path).name}", Path(path).read_bytes()
    for name, stage in stages["stages"].items():
        for file in sorted(Path("results/logs", name, stage["key"]).glob("*.run.json")):
            yield f"records/{name}/{file.name}", file.read_bytes()
    for name in SOURCE:
        if (root / name).is_file():
            yield f"source/{name}", (root / name).read_bytes()
    for folder, suffixes in FOLDERS.items():
        for file in sorted((root / folder).rglob("*")):
            if file.is_file() and file.suffix in suffixes:
                yield f"source/{file.relative_to(root).as_posix()}", file.read_bytes()
    yield "README.txt", _readme(stages).encode()


def _readme(stages: dict[str, Any]) -> str:
    return f"""Reproducibility bundle of run "{stages["run"]}"

stages.json        every stage with its key, the config it depends on, its code digest and its inputs
config.json        the resolved configuration
evaluation/        metrics.json (all numbers) and metrics.csv (the same as a table)
region/            GeoTIFFs of the reconstructed region: mean, std, prior, truth
models/            weights (safetensors), their config and, where this run trained them, run record
records/           what each job ran: stage, key and config section (trainings have theirs in models/)
manifests/         sha256 of every training and test shard
report.html        everything as pictures
source/            the code and configuration files that made it
SHA256SUMS         check with: sha256sum -c SHA256SUMS

To run it again: unpack, `cd source`, `make env`, then `snakemake -c2 all` with a config file that holds
config.json's content and the input files whose sha256 stages.json lists under "files".
"""
