"""STAC items against the schemas kept in `stac_schemas`: no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from referencing import Registry, Resource

FOLDER = Path(__file__).parent / "stac_schemas"
CORE = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema"
ITEM = f"{CORE}/item.json"
_PLACES = {
    "geojson-feature.json": "https://geojson.org/schema/Feature.json",
    "geojson-geometry.json": "https://geojson.org/schema/Geometry.json",
    "projection.json": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster.json": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "ssys.json": "https://stac-extensions.github.io/ssys/v1.1.0/schema.json",
}
SCHEMAS = {
    _PLACES.get(path.name, f"{CORE}/{path.name}"): json.loads(path.read_text())
    for path in sorted(FOLDER.glob("*.json"))
}


def stac_errors(item: dict[str, Any]) -> list[str]:
    """What is wrong with an item, by the schema of STAC 1.1 and those of all its extensions."""
    registry: Registry = Registry().with_resources(
        [(place, Resource.from_contents(schema)) for place, schema in SCHEMAS.items()]
    )
    found = []
    for place in (ITEM, *item["stac_extensions"]):
        validator = Draft7Validator(SCHEMAS[place], registry=registry)
        found += [f"{place}: {error.json_path}: {error.message}" for error in validator.iter_errors(item)]
    return found
