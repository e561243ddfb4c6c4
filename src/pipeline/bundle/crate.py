"""RO-Crate metadata of a bundle: Provenance Run Crate 0.5 and the profiles that it extends.

Written to the profile (https://w3id.org/ro/wfrun/provenance/0.5): every stage is a step of the workflow, a
tool (its code, by digest) and an action that made its record from those of the stages before it. Times and
paths are left out, so that equal results give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.storage.calibration_law import FILE as CALIBRATION
from pipeline.storage.sha256 import content_sha256

CRATE = "ro-crate-metadata.json"
Entity = dict[str, Any]

_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_LICENCE = "https://spdx.org/licenses/Apache-2.0"
_AUTHORS = "#authors"
_WORKFLOW = "source/Snakefile"
_LANGUAGE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
# Parameter of the workflow -> its description, and the member that is an example of it.
_PARAMETERS = {
    "config": ("configuration", "config.json"),
    "inputs": ("digests and sources of the input files", "inputs.json"),
    "metrics": ("scores on the test split", "evaluation/metrics.json"),
}
_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
_DONE = "http://schema.org/CompletedActionStatus"
# PRONOM's entry of GeoTIFF: the profile does not accept a media type with a parameter.
_GEOTIFF = "https://www.nationalarchives.gov.uk/PRONOM/fmt/155"
_TYPES: dict[str, str | list[str | Entity]] = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".html": "text/html",
    ".png": "image/png",
    ".tif": ["image/tiff", {"@id": _GEOTIFF}],
    ".zip": "application/zip",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
    ".cff": "application/yaml",
    ".toml": "application/toml",
    ".py": "text/x-python",
    ".safetensors": "application/octet-stream",
}
# Source files with an entity of their own; the others are covered by the entity of the folder.
_DESCRIBED = ("source/envs/", "source/pyproject.toml", "source/LICENSE", "source/CITATION.cff")
# Stage -> prefixes of the members that it made, besides its record.
_OUTPUTS = {
    "evaluation": ("evaluation/",),
    "region": ("region/",),
    "report": ("report.html", "figures/"),
    "manifest": ("manifests/manifest.json",),
    "manifest_test": ("manifests/manifest_test.json", "subset/"),
}


def crate(stages: Mapping[str, Any], members: Mapping[str, Path | bytes]) -> Entity:
    """The content of ``ro-crate-metadata.json``.

    Parameters
    ----------
    stages : ``stages.json``. members : name in the archive -> file or bytes, of all other members.
    """
    names = sorted(name for name in members if not name.startswith("source/") or name.startswith(_DESCRIBED))
    # The bundle's own stage is not finished when the bundle is made.
    ran = {name: stage for name, stage in stages["stages"].items() if name != "bundle"}
    graph = [
        *_root(stages, ran, names),
        *(_file(name, members[name]) for name in names),
        *_steps(ran),
        *_actions(stages["run"], ran, names),
        *_context(),
    ]
    return {
        "@context": _CONTEXT,
        "@graph": sorted(graph, key=lambda e: (e["@id"] not in (CRATE, "./"), e["@id"])),
    }


def _entity(identifier: str, kind: str | list[str], /, **properties: Any) -> Entity:
    return {"@id": identifier, "@type": kind, **properties}


def _ref(identifier: str) -> Entity:
    return {"@id": identifier}


def _refs(identifiers: Iterable[str]) -> Entity | list[Entity]:
    """References; a single one without a list, as RO-Crate recommends."""
    refs = [_ref(i) for i in identifiers]
    return refs[0] if len(refs) == 1 else refs


def _root(stages: Mapping[str, Any], ran: Mapping[str, Any], names: list[str]) -> Iterator[Entity]:
    """Entities of the metadata file, the bundle, its source and the workflow."""
    run = stages["run"]
    profiles = ("https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0")
    yield _entity(CRATE, "CreativeWork", about=_ref("./"), conformsTo=_refs(profiles))
    yield _entity(
        "./",
        "Dataset",
        name=f"Reproducibility bundle of run {run}",
        description="Super-resolution of lunar elevation models: configuration, code, weights, numbers, "
        f"maps and a test subset of run {run}, to be verified with `make verify`.",
        datePublished=stages["config"]["bundle"]["published"],
        license=_ref(_LICENCE),
        author=_ref(_AUTHORS),
        conformsTo=_refs(_PROFILES),
        hasPart=_refs((_WORKFLOW, "source/", *names)),
        mainEntity=_ref(_WORKFLOW),
        mentions=_refs(("#run", *(f"#run-{name}" for name in ran))),
    )
    yield _entity("source/", "Dataset", name="Source code, configuration and environments")
    yield _entity(
        _WORKFLOW,
        ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        name="Lunar super-resolution with Schrödinger bridges",
        conformsTo=_ref("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
        programmingLanguage=_ref(_LANGUAGE),
        version=ran["report"]["code"][:12],
        encodingFormat="text/plain",
        license=_ref(_LICENCE),
        author=_ref(_AUTHORS),
        input=_refs(("#parameter-config", "#parameter-inputs")),
        output=_refs(("#parameter-metrics",)),
        hasPart=_refs(f"#tool-{name}" for name in ran),
        step=_refs(f"{_WORKFLOW}#{name}" for name in ran),
    )


def _file(name: str, content: Path | bytes) -> Entity:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    entity = _entity(name, "File", name=name, contentSize=str(size), sha256=content_sha256(content))
    # Files without a known suffix are text: the workflow, the licence, the container's definition.
    entity["encodingFormat"] = _TYPES.get(Path(name).suffix, "text/plain")
    if name == "README.md":
        entity["about"] = _ref("./")
    for parameter, (_, example) in _PARAMETERS.items():
        if name == example:
            entity["exampleOfWork"] = _ref(f"#parameter-{parameter}")
    return entity


def _steps(ran: Mapping[str, Any]) -> Iterator[Entity]:
    """Each stage as a step of the workflow and as the tool that it runs."""
    code = "Version: sha256 of the library code that the stage runs, without comments"
    for position, (name, stage) in enumerate(ran.items(), start=1):
        tool, step = f"#tool-{name}", f"{_WORKFLOW}#{name}"
        yield _entity(step, "HowToStep", name=name, position=str(position), workExample=_ref(tool))
        yield _entity(
            tool, "SoftwareApplication", name=f"stage {name}", softwareVersion=stage["code"], description=code
        )


def _actions(run: str, ran: Mapping[str, Any], names: list[str]) -> Iterator[Entity]:
    """Actions: the run, and the execution of each stage."""
    outcome = [n for n in names if n.startswith(("evaluation/", "region/", "models/")) or n == "report.html"]
    yield _entity(
        "#run",
        "CreateAction",
        name=f"Run {run}",
        description="The whole workflow, from the terrain to the report",
        instrument=_ref(_WORKFLOW),
        object=_refs(("config.json", "inputs.json")),
        result=_refs(outcome),
        actionStatus=_DONE,
    )
    yield _entity(
        "#organise",
        "OrganizeAction",
        name="Snakemake runs the stages",
        instrument=_ref("#snakemake"),
        object=_refs(f"#control-{name}" for name in ran),
        result=_ref("#run"),
    )
    for name, stage in ran.items():
        before = [f"records/{i}.json" for i in stage["inputs"]] or ["config.json", "inputs.json"]
        yield _entity(
            f"#run-{name}",
            "CreateAction",
            name=f"Stage {name}, key {stage['key']}",
            description=f"Stage {name} of run {run}; its settings are in records/{name}.json",
            instrument=_ref(f"#tool-{name}"),
            object=_refs(before),
            result=_refs((f"records/{name}.json", *(n for n in names if n.startswith(_outputs(name))))),
            actionStatus=_DONE,
        )
        yield _entity(
            f"#control-{name}",
            "ControlAction",
            name=f"Stage {name}",
            instrument=_ref(f"{_WORKFLOW}#{name}"),
            object=_ref(f"#run-{name}"),
        )


def _outputs(name: str) -> tuple[str, ...]:
    """Prefixes of the members that a stage made, besides its record."""
    if name.startswith("calibration_"):
        return (f"models/{name.removeprefix('calibration_')}/{CALIBRATION}",)
    own = ("model.safetensors", "config.json", "metrics.jsonl", "run.json", "README.md")
    return _OUTPUTS.get(name, tuple(f"models/{name}/{file}" for file in own))


def _context() -> Iterator[Entity]:
    """Contextual entities: profiles, licence, authors, language and parameters."""
    for identifier, (name, version) in _PROFILES.items():
        yield _entity(identifier, "CreativeWork", name=name, version=version)
    yield _entity(_LICENCE, "CreativeWork", name="Apache-2.0", description="Apache License 2.0")
    yield _entity(_AUTHORS, "Organization", name="The lunar-bridge authors")
    yield _entity(
        _LANGUAGE,
        "ComputerLanguage",
        name="Snakemake",
        alternateName="SMK",
        identifier=_ref("https://doi.org/10.12688/f1000research.29032.2"),
        url=_ref("https://snakemake.github.io"),
    )
    yield _entity(
        "#snakemake",
        "SoftwareApplication",
        name="Snakemake",
        url="https://snakemake.github.io",
        softwareVersion="pinned in source/envs/requirements.txt",
    )
    for name, (description, example) in _PARAMETERS.items():
        yield _entity(
            f"#parameter-{name}",
            "FormalParameter",
            name=name,
            description=description,
            additionalType="File",
            conformsTo=_ref(_PARAMETER),
            workExample=_ref(example),
            valueRequired="True",
        )
    yield _entity(_GEOTIFF, "WebSite", name="GeoTIFF")
    yield _entity(_PARAMETER, "CreativeWork", name="FormalParameter profile", version="1.0-RELEASE")
