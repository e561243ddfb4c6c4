"""``config/README.md`` from the models themselves: every key, its default, its range, its meaning.

Run ``python -m pipeline.config.reference > config/README.md`` after changing a section; a test fails when
they differ.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.base import Range
from pipeline.config.root import Config

_HEAD = """# Configuration

`config/config.yaml` is the published system at paper scale and holds every key. The other files are
overlays: `snakemake --configfile config/demo.yaml -c2 all` replaces only the keys that it names; several
overlays apply in order, and `--config run=mine` sets single values. Both options take lists: another option,
like `-c2`, stands between them and the stage.

| file | what |
|---|---|
| `config.yaml` | published setting, both poles, 20 m/pix; downloads its inputs |
| `demo.yaml` | synthetic terrain, minutes on 2 cores |
| `lola40.yaml` | real LOLA windows at 40 m/pix in `resources/lola_40m/*.tif` |
| `evaluate.yaml` | given or shipped weights on any DEM windows, without training |
| `light.yaml` | on top of another: true places, the Sun's disc, far terrain, swaths of narrow cameras |
| `tiny.yaml` | the whole DAG in two to three minutes, for tests |

A range is written `[low, high]`, or as one number for a fixed value. "Published" means Repasky et al. 2026;
"interpolant" and its `noise` are Yasuda's, the VAE is Rombach et al. 2022's. Unknown keys and values outside
the allowed range are refused before any work starts, with the key's path.

Changing a key reruns the stages that depend on it and nothing else; keys under `runtime`, and `run`, change
no result and rerun nothing that is stored by key.

This file is made by `python -m pipeline.config.reference > config/README.md`.
"""


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Attribute descriptions of a section: its base's, and in their place those of its own docstring."""
    out: dict[str, str] = {}
    for part in reversed(model.__mro__):
        out |= _described(inspect.cleandoc(part.__doc__ or ""))
    return out


def _described(text: str) -> dict[str, str]:
    """Those of one NumPy docstring: ``a, b : text`` describes both a and b."""
    out: dict[str, str] = {}
    _, _, block = text.partition("Attributes\n----------\n")
    names: list[str] = []
    for line in block.splitlines():
        head = re.match(r"^([a-z_0-9]+(?:, [a-z_0-9]+)*) : (.*)$", line)
        if head:
            names = head[1].split(", ")
            for name in names:
                out[name] = head[2]
        elif line.startswith(" ") and names:
            for name in names:
                out[name] += " " + line.strip()
    return out


def _allowed(field: FieldInfo, schema: dict[str, Any]) -> str:
    """The allowed values of a leaf, from its JSON schema."""
    options = schema.get("anyOf", [schema])
    parts = []
    for option in options:
        if "enum" in option:
            parts.append(", ".join(f"`{value}`" for value in option["enum"]))
        elif option.get("type") == "null":
            parts.append("`null`")
        elif option.get("type") == "array":
            items = option.get("items", {})
            values = ", ".join(f"`{v}`" for v in items["enum"]) if "enum" in items else items.get("type", "")
            parts.append(f"list of {values}" if values else "list")
        else:
            low = f">= {option['minimum']:g}" if "minimum" in option else ""
            low = f"> {option['exclusiveMinimum']:g}" if "exclusiveMinimum" in option else low
            high = f"<= {option['maximum']:g}" if "maximum" in option else ""
            high = f"< {option['exclusiveMaximum']:g}" if "exclusiveMaximum" in option else high
            kind = option.get("type", "")
            parts.append(" ".join(part for part in (kind, low, high) if part))
    return " or ".join(part for part in parts if part)


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """(key, default, allowed, meaning) of every leaf below a section."""
    schema = model.model_json_schema()
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        annotation = field.annotation
        inner = annotation if inspect.isclass(annotation) and issubclass(annotation, BaseModel) else None
        if inner is not None and inner is not Range:
            yield from _rows(inner, f"{prefix}{name}.")
            continue
        found = schema["properties"][name]
        allowed = "`[low, high]`" if inner is Range else _allowed(field, found)
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        yield f"{prefix}{name}", default, allowed, meanings.get(name, "")


def _shown(value: Any) -> str:
    if isinstance(value, Range):
        return f"`[{value.low:g}, {value.high:g}]`"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        value = {k: v.model_dump(mode="json") if isinstance(v, BaseModel) else v for k, v in value.items()}
    if isinstance(value, float):
        return f"`{value:.6g}`"
    return f"`{json.dumps(value)}`"


def reference() -> str:
    """The whole of ``config/README.md``."""
    out = [_HEAD]
    top = [("key", "default", "allowed", "meaning")]
    sections: list[tuple[str, type[BaseModel]]] = []
    meanings = _meanings(Config)
    schema = Config.model_json_schema()
    for name, field in Config.model_fields.items():
        annotation = field.annotation
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            sections.append((name, annotation))
        else:
            found = schema["properties"][name]
            top.append((name, _shown(field.default), _allowed(field, found), meanings.get(name, "")))
    out.append("## Top level\n\n" + _table(top))
    for name, model in sections:
        if name == "bridge":
            out.append("## `bridge`\n\nThe same keys as `published`.\n")
            continue
        intro = (inspect.getdoc(model) or "").partition("\n\nAttributes\n")[0]
        rows = [("key", "default", "allowed", "meaning"), *_rows(model, f"{name}.")]
        out.append(f"## `{name}`\n\n{intro}\n\n" + _table(rows))
    return "\n".join(out)


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for key, *rest in body:
        cells = [f"`{key}`", *rest]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
