"""RO-Crate metadata of a bundle, without a run (the validator of the profile sees those of one: e2e)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.bundle.crate import crate

MEMBERS = {
    "README.md": b"# Bundle\n", "config.json": b"{}", "inputs.json": b"{}", "evaluation/metrics.json": b"{}",
    "models/vae/model.safetensors": b"w", "region/mean.tif": b"II", "records/vae.json": b"{}",
    "records/region.json": b"{}", "records/report.json": b"{}", "report.html": b"<html>",
    "source/Snakefile": b"", "source/src/pipeline/__init__.py": b"", "source/LICENSE": b"Apache",
    "source/envs/lock.py": b"", "source/pyproject.toml": b"", "source/CITATION.cff": b"",
}  # fmt: skip
STAGES = {
    "run": "r",
    "config": {"bundle": {"published": "2026-01-01"}},
    "stages": {
        "vae": {"key": "a1", "code": "c1" * 20, "inputs": []},
        "region": {"key": "a2", "code": "c2" * 20, "inputs": ["vae"]},
        "report": {"key": "a3", "code": "c3" * 20, "inputs": ["vae", "region"]},
        "bundle": {"key": "a4", "code": "c4" * 20, "inputs": ["report"]},
    },
}


def graph() -> dict[str, dict[str, Any]]:
    entities = crate(STAGES, MEMBERS)["@graph"]
    by_id = {entity["@id"]: entity for entity in entities}
    assert len(by_id) == len(entities)
    return by_id


def values(entity: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Property and value, one by one."""
    for key, value in entity.items():
        yield from ((key, item) for item in (value if isinstance(value, list) else [value]))


def test_every_reference_leads_to_an_entity() -> None:
    by_id = graph()
    outside = (
        "https://w3id.org/ro/crate/",
        "https://bioschemas.org/profiles/C",
        "https://doi",
        "https://snake",
    )
    for entity in by_id.values():
        for key, value in values(entity):
            if isinstance(value, dict) and not value["@id"].startswith(outside):
                assert value["@id"] in by_id, (entity["@id"], key)


def test_a_property_of_one_value_is_no_list() -> None:
    for entity in graph().values():
        short = [key for key, value in entity.items() if isinstance(value, list) and len(value) < 2]
        assert not short, (entity["@id"], short)


def test_every_file_says_its_format_and_the_readme_what_it_is_about() -> None:
    by_id = graph()
    files = {name: entity for name, entity in by_id.items() if "File" in entity["@type"]}
    assert set(files) == set(MEMBERS) - {"source/src/pipeline/__init__.py"}
    assert all(entity["encodingFormat"] for entity in files.values())
    assert {files[f"source/{name}"]["encodingFormat"] for name in ("LICENSE", "Snakefile")} == {"text/plain"}
    kind, entry = files["region/mean.tif"]["encodingFormat"]
    assert kind == "image/tiff" and by_id[entry["@id"]]["name"] == "GeoTIFF"
    assert files["README.md"]["about"] == {"@id": "./"}


def test_an_action_leads_from_records_before_it_to_its_own() -> None:
    by_id = graph()
    assert by_id["#run-region"]["object"] == {"@id": "records/vae.json"}
    assert by_id["#run-region"]["result"] == [{"@id": "records/region.json"}, {"@id": "region/mean.tif"}]
    assert by_id["#run-vae"]["object"] == [{"@id": "config.json"}, {"@id": "inputs.json"}]
    assert "#run-bundle" not in by_id
