"""Stage ``bundle``: everything that a reviewer needs, as one reproducible archive."""

from __future__ import annotations

import base64
import html
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.bundle.archive import write_archive
from pipeline.bundle.crate import CRATE, crate
from pipeline.bundle.documents import datasheet, model_card, readme
from pipeline.jobs.job import record_of
from pipeline.provenance.digest import SOURCE, TEMPLATES
from pipeline.shards.shard_set import ShardSet, chosen
from pipeline.shards.subset import write_subset
from pipeline.storage.atomic import read_json
from pipeline.storage.calibration_law import FILE as CALIBRATION
from pipeline.storage.sha256 import file_sha256

FILES = (
    "Snakefile", "workflow/Snakefile", "pyproject.toml", "Makefile", "README.md", "LICENSE", "CITATION.cff",
    "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
)  # fmt: skip
FOLDERS = {
    "workflow": (".smk", ".py", ".rst"),
    "src": (".py", *TEMPLATES),
    "config": (".yaml", ".json", ".md"),
    "profiles": (".yaml",),
    "envs": (".txt", ".yaml", ".def", ".py"),
    "docs": (".md",),
    "tests": (".py", ".json", ".jsonld", ".txt"),
}
# Kind of a file in the identity of given weights -> its name in the bundle.
_GIVEN = {"weights": "model.safetensors", "config": "config.json", "calibration": CALIBRATION}
Members = dict[str, Path | bytes]


def write_bundle(inputs: Mapping[str, Any], out: Path | str, root: Path | str | None = None) -> None:
    """Write all that a reviewer needs as one zip (docs/formats.md).

    Equal results give equal bytes: the content does not depend on the time, the machine or the folder.

    Parameters
    ----------
    inputs : the rule's named inputs. out : archive to write.
    root : folder of the project whose source is shipped; that of this library by default.

    Raises
    ------
    ValueError
        If the record of a job is not that of its stage in ``stages.json``.
    """
    stages = read_json(inputs["stages"], "stages/1")
    members = results(inputs, stages)
    members |= {"inputs.json": _json(_inputs(inputs, stages))}
    members |= dict(source(Path(root) if root is not None else SOURCE.parents[1]))
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        members |= _subset(inputs, stages["config"], Path(scratch))
        members |= _documents(inputs, stages, members)
        members[CRATE] = _json(crate(stages, members))
        write_archive(out, members)


def _listed(value: Any) -> list[Path]:
    return [Path(path) for path in ([value] if isinstance(value, str) else value or ())]


def _stage_of(path: Path) -> str:
    """The stage of a file in the store, ``<stage>/<key>/<file>``."""
    return path.parent.parent.name


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def results(inputs: Mapping[str, Any], stages: Mapping[str, Any]) -> Members:
    """Members that the run made: scores, maps, weights, records.

    Raises
    ------
    ValueError
        As `write_bundle`.
    """
    out: Members = {"stages.json": Path(inputs["stages"]), "config.json": _json(stages["config"])}
    out["report.html"] = Path(inputs["report"])
    for role in ("evaluation", "region"):
        out |= {f"{role}/{path.name}": path for path in _listed(inputs[role])}
    out |= {f"manifests/{_stage_of(path)}.json": path for path in _listed(inputs["manifests"])}
    out |= {f"models/{_stage_of(path)}/{path.name}": path for path in _listed(inputs["models"])}
    for path in _listed(inputs.get("calibrations")):
        out[f"models/{_stage_of(path).removeprefix('calibration_')}/{path.name}"] = path
    for name in ("pretrained", "pretrained_vae"):
        out |= {f"models/{name}/{path.name}": path for path in _listed(inputs.get(name))}
    for name, given in stages["found"].get("rivals", {}).items():
        for folder, path in (name, given["model"]), (f"vae_{name}", given["vae"]):
            beside = [] if path is None else [Path(path), Path(path).with_name("config.json")]
            out |= {f"models/{folder}/{file.name}": file for file in beside}
        if given["calibration"] is not None:
            out[f"models/{name}/{Path(given['calibration']).name}"] = Path(given["calibration"])
    for name, stage in stages["stages"].items():
        if name != "bundle":  # it is running now
            out[f"records/{name}.json"] = _record(name, stage)
    return out


def given_files(stages: Mapping[str, Any]) -> dict[str, str]:
    """Members of given weights, and their digests (``sha256:...``) as they entered the keys.

    Parameters
    ----------
    stages : content of ``stages.json``.
    """
    out = {}
    for name, given in {"pretrained": stages["found"]["given"], **stages["found"].get("rivals", {})}.items():
        folders = {"model": name, "vae": "pretrained_vae" if name == "pretrained" else f"vae_{name}"}
        for entry, digest in given["identity"].items() if given else ():
            part, _, kind = entry.partition(".")
            out[f"models/{folders[part]}/{_GIVEN[kind]}"] = digest
    return out


def _record(name: str, stage: Mapping[str, Any]) -> bytes:
    """The record of a stage; each of its jobs must have written the same one."""
    wanted = record_of(name, stage["key"], json.loads(stage["section"]))
    for path in sorted(Path("results/logs", name, stage["key"]).glob("*.run.json")):
        if read_json(path, "run/1") != wanted:
            raise ValueError(
                f"{path}: expected the record of stage {name}, key {stage['key']}, found another"
            )
    return _json(wanted)


def source(root: Path) -> Iterator[tuple[str, Path]]:
    """Pairs of a source file's name in the bundle and its path."""
    for name in FILES:
        if (root / name).is_file():
            yield f"source/{name}", root / name
    for folder, suffixes in FOLDERS.items():
        for file in sorted((root / folder).rglob("*")):
            if file.is_file() and file.suffix in suffixes:
                yield f"source/{file.relative_to(root).as_posix()}", file


def _inputs(inputs: Mapping[str, Any], stages: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``inputs.json``."""
    local = {path.name: path for path in _listed(inputs.get("fetched"))}
    unpinned = {Path(path).name for path, _, pin in stages["found"]["urls"] if not pin}
    fetched = {name: file_sha256(local[name]) for name in sorted(unpinned & local.keys())}
    return {
        "schema": "inputs/1",
        "synthetic": stages["config"]["inputs"]["dem"] == "synthetic",
        "files": input_files(stages, fetched),
        "sites": [site["name"] for site in read_json(inputs["terrain"])["sites"]],
        "dropped": read_json(inputs["split"])["counts"].get("dropped", 0),
    }


def input_files(stages: Mapping[str, Any], fetched: Mapping[str, str]) -> list[dict[str, Any]]:
    """Role, name, URL (or None) and digest of every input file.

    Parameters
    ----------
    stages : content of ``stages.json``. fetched : sha256 of downloads that are not pinned, by name.
    """
    found, config = stages["found"], stages["config"]
    names = {url: Path(path).name for path, url, _ in found["urls"]}
    files = []
    for role, origin, digest in stages["files"]:
        name, url = (names[origin], origin) if "://" in origin else (origin, None)
        here = fetched.get(name, digest) if digest == "unpinned" else digest
        files.append(_entry(role, name, here, url))
    kernels = zip(config["ephemeris"]["kernels"], found["kernels"])  # unused kernels have no digests
    files += [_entry("kernel", path, digest) for path, digest in kernels]
    index = config["split"]["index"] or {}
    named = (index[name] for name in ("train", "validation", "test") if index)
    files += [_entry("index", path, digest) for path, digest in zip(named, found["index"])]
    far = config["inputs"]["far"] or []
    files += [_entry("far", *each) for each in zip([far] if isinstance(far, str) else far, found["far"])]
    if found["lpips"]:
        files.append(_entry("lpips", config["vae"]["lpips_weights"], found["lpips"]))
    for system, init in found["init"].items():
        for entry, digest in init["identity"].items():
            file = _GIVEN[entry.partition(".")[2]]
            files.append(_entry("init", file, digest) | {"name": f"{system}/{file}"})
    files += [_entry("given", file, digest) | {"name": file} for file, digest in given_files(stages).items()]
    return files


def _entry(role: str, path: str, digest: str, url: str | None = None) -> dict[str, Any]:
    return {"role": role, "name": Path(path).name, "url": url, "sha256": digest.removeprefix("sha256:")}


def shipped(evaluated: int, patches: int | None, batch: int) -> int:
    """Number of evaluated patches that are shipped: whole batches, as rounding depends on the batch size."""
    return evaluated if patches is None else min(evaluated, -(-patches // batch) * batch)


def _subset(inputs: Mapping[str, Any], config: Mapping[str, Any], scratch: Path) -> Members:
    """The first evaluated patches as a separate shard."""
    shards = ShardSet(inputs["test_manifest"], "test")
    section = config["evaluation"]
    picked = chosen(len(shards), section["max_patches"])
    count = shipped(len(picked), config["bundle"]["patches"], section["batch"])
    write_subset(shards, picked[:count], scratch)
    return {f"subset/{name}": scratch / name for name in ("manifest.json", "test.zarr.zip")}


def models_in(members: Iterable[str]) -> list[str]:
    """Names of the models among a bundle's members."""
    found = (re.fullmatch(r"models/(\w+)/model\.safetensors", name) for name in members)
    return [match[1] for match in found if match]


def _documents(inputs: Mapping[str, Any], stages: Mapping[str, Any], members: Members) -> Members:
    """The README, the datasheet, one card per model and the figures of the report."""

    def read(name: str) -> Any:
        content = members[name]
        return json.loads(content if isinstance(content, bytes) else content.read_bytes())

    metrics = read("evaluation/metrics.json")
    manifests = {Path(n).stem: read(n) for n in sorted(members) if n.startswith("manifests/")}
    out: Members = {"README.md": readme(stages, metrics, read("subset/manifest.json")).encode()}
    out["datasheet.md"] = datasheet(stages, manifests, read("inputs.json")).encode()
    for name in models_in(sorted(members)):
        path = members[f"models/{name}/model.safetensors"]
        assert isinstance(path, Path)
        config = read(f"models/{name}/config.json")
        out[f"models/{name}/README.md"] = model_card(name, path, config, metrics, stages).encode()
    report = Path(inputs["report"]).read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"[^>]*\balt="([^"]*)"', report)
    lines = ["# Figures of the report\n"]
    for number, (data, alt) in enumerate(pictures, start=1):
        out[f"figures/figure_{number:02d}.png"] = base64.b64decode(data)
        lines.append(f"- `figure_{number:02d}.png`: {html.unescape(alt)}")
    if pictures:
        out["figures/README.md"] = ("\n".join(lines) + "\n").encode()
    return out
