"""``config/schema.json`` from the models themselves: what may stand in a config file, for editors.

Run ``python -m pipeline.config.schema > config/schema.json`` after changing a section; a test fails when they
differ. A file may be an overlay, which leaves out any key. Rules between keys are those of the models only.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pipeline.config.base import Range
from pipeline.config.reference import meaning
from pipeline.config.root import Config

_NUMBER = {"type": "number"}
_PAIR = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}


class _Overlay(GenerateJsonSchema):
    """Schema of sections of which any key may be left out, with the meaning of each key."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        return False

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        model, out = schema["cls"], super().model_schema(schema)
        out.pop("title", None)
        for name, field in out["properties"].items():
            if said := meaning(model, name):
                field["description"] = said
            default = field.get("default")
            if isinstance(default, dict) and default:
                # A section's keys have their own defaults.
                field.pop("default")
                if default.keys() == Range.model_fields.keys():
                    field["default"] = list(default.values())
            if "patternProperties" in field:
                field["additionalProperties"] = False
            if "true" in field.get("enum", ()):
                # YAML reads the unquoted word as a boolean.
                field["enum"] = [*field["enum"], True]
                del field["type"]
        if model is Range:
            return {"anyOf": [_NUMBER, _PAIR, out], "description": "`[low, high]`, or one number."}
        return out


def schema() -> dict[str, Any]:
    """The whole of ``config/schema.json``."""
    out = Config.model_json_schema(schema_generator=_Overlay)
    # A file for any site leaves its terrain to the user.
    out["$defs"]["InputsSection"]["properties"]["dem"]["anyOf"].append({"type": "null"})
    # A variant holds some of a bridge's keys.
    for variants in out["properties"]["variants"]["patternProperties"].values():
        variants |= {"$ref": "#/$defs/BridgeSection"}
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "Configuration of lunar-bridge"}
    return head | out


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
