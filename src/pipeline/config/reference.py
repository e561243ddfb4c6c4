"""``config/README.md`` from the models themselves: every key, its default, its range, its meaning.

Run ``python -m pipeline.config.reference > config/README.md`` after changing a section; a test fails when
they differ.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from pipeline.config.base import Range
from pipeline.config.root import Config

_HEAD = """# Configuration

`config/config.yaml` is the published system at paper scale and holds every key. The other files are
overlays: `snakemake --configfile config/demo.yaml -c2 all` replaces only the keys that it names; several
overlays apply in order, and `--config run=mine` sets single values. Both options take lists: put another
option, like `-c2`, between them and the stage.

| file | what |
|---|---|
| `config.yaml` | published setting, both poles, 20 m/pix; downloads its inputs |
| `demo.yaml` | synthetic terrain, minutes on 2 cores |
| `lola40.yaml` | real LOLA windows at 40 m/pix in `resources/lola_40m/*.tif` |
| `lola40_ablation.yaml` | on top of `lola40.yaml`: variants of the bridge with equal samples |
| `lola40_nfe.yaml` | on top of `lola40.yaml`: the shipped weights with other numbers of network evaluations |
| `lola40_published.yaml` | on top of `lola40.yaml`: the published bridge for 2 cores |
| `lola40_published_residual.yaml` | on top of both: the same with a VAE of residuals |
| `lola40_published_gpu.yaml` | on top of `lola40.yaml`: the published system at full size, for a GPU |
| `rivals.yaml` | on top of `lola40.yaml`: learned rivals of the bridges |
| `yasuda.yaml` | on top of `lola40.yaml`: the rivals that draw members |
| `yasuda_nfe.yaml` | on top of both: these with other numbers of network evaluations |
| `moon.yaml` | weights for real light and altimetry, from those of `moon_second.yaml` |
| `moon_first.yaml`, `moon_second.yaml` | on top of `moon.yaml`: its first two trainings |
| `moon_gpu.yaml` | on top of `moon.yaml`: a wider network for minutes on a GPU |
| `systems.yaml` | all systems with given weights on the test sites of `lola40.yaml` |
| `systems_validation.yaml` | on top of `systems.yaml`: the same on the validation sites |
| `evaluate.yaml` | given or shipped weights on any DEM windows, without training |
| `map.yaml` | a map of a site from a DEM, real images and their Sun positions, with given weights |
| `map_1500.yaml` | 1,500 rendered images over 76.8 km of synthetic terrain at 20 m/pix, with given weights |
| `conditions.yaml` | on top of `config.yaml`: other numbers of images and latitudes in the evaluation |
| `light.yaml` | on top of another: true places, the Sun's disc, far terrain, swaths of narrow cameras |
| `tiny.yaml` | the whole DAG in two to three minutes, for tests |

A range is written `[low, high]`, or as one number for a fixed value. "Published" means Repasky et al. 2026;
"interpolant" and its `noise` are Yasuda's, the VAE is Rombach et al. 2022's. Unknown keys and values outside
the allowed range are refused before any work starts, with the key's path.

Editors with a YAML language server complete keys, show their meaning and mark mistakes with `schema.json`,
which the first line of a file names; in an overlay in a folder beside this one it is
`# yaml-language-server: $schema=../config/schema.json`.

Changing a key reruns the stages that depend on it and nothing else; keys under `runtime`, and `run`, change
no result and rerun nothing that is stored by key.

This file is made by `python -m pipeline.config.reference > config/README.md`, and the schema by
`python -m pipeline.config.schema > config/schema.json`.
"""


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
Row = tuple[str, str, str, str]


def meaning(model: type[BaseModel], name: str) -> str:
    """Docstring of a section's attribute: its own, or that of the next base which has one; "" for none.

    Pydantic's `use_attribute_docstrings` would say the same, and parse all sections' sources wherever they
    are imported: a quarter of a second for each process.
    """
    found = (_attributes(part.__module__).get((part.__qualname__, name)) for part in model.__mro__)
    return next(filter(None, found), "")


@cache
def _attributes(module: str) -> dict[tuple[str, str], str]:
    """Docstrings of a module's classes' attributes, by class and attribute: strings that follow them."""
    out: dict[tuple[str, str], str] = {}
    if not module.startswith("pipeline.config."):
        return out
    parts = ast.parse(inspect.getsource(sys.modules[module])).body
    for part in (part for part in parts if isinstance(part, ast.ClassDef)):
        for field, text in pairwise(part.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    out[part.name, name] = " ".join(said.split())
    return out


def _allowed(schema: dict[str, Any]) -> str:
    """The allowed values of a leaf, from its JSON schema."""
    options = schema.get("anyOf", [schema])
    parts = []
    for option in options:
        if "$ref" in option:
            parts.append("`[low, high]`" if option["$ref"].endswith("/Range") else "section")
        elif "enum" in option:
            parts.append(", ".join(f"`{value}`" for value in option["enum"]))
        elif option.get("type") == "null":
            parts.append("`null`")
        elif option.get("type") == "array":
            items = option.get("items", {})
            values = ", ".join(f"`{v}`" for v in items["enum"]) if "enum" in items else items.get("type", "")
            parts.append(f"list of {values}" if values else "list")
        else:
            bounds = [f"{sign} {option[key]:g}" for key, sign in _BOUNDS.items() if key in option]
            parts.append(" ".join([option.get("type", ""), *bounds]).strip())
    return " or ".join(part for part in parts if part)


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, or may hold; None for a leaf, as a range is."""
    options = [each for each in get_args(field.annotation) if each is not type(None)]
    kind = options[0] if len(options) == 1 and type(None) in get_args(field.annotation) else field.annotation
    return kind if inspect.isclass(kind) and issubclass(kind, BaseModel) and kind is not Range else None


def _rows(model: type[BaseModel], prefix: str = "", deep: bool = True) -> Iterator[Row]:
    """(key, default, allowed, meaning) of every leaf of a section, and, if `deep`, of the sections in it."""
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        inner = _section_of(field)
        if inner is None:
            given = field.get_default(call_default_factory=True)
            default = "required" if field.is_required() else _shown(given)
            values = _allowed(schema["properties"][name])
            yield f"{prefix}{name}", default, values, meaning(model, name)
        elif deep:
            if not field.is_required() and field.default is None:
                yield f"{prefix}{name}", "`null`", "a section, or `null`", meaning(model, name)
            yield from _rows(inner, f"{prefix}{name}.")


def _shown(value: Any) -> str:
    if isinstance(value, Range):
        return f"`[{value.low:g}, {value.high:g}]`"
    if isinstance(value, float):
        return f"`{value:.6g}`"
    return f"`{json.dumps(to_jsonable_python(value))}`"


def reference() -> str:
    """The whole of ``config/README.md``."""
    out = [_HEAD, "## Top level\n\n" + _table(_rows(Config, deep=False))]
    for name, field in Config.model_fields.items():
        model = _section_of(field)
        if name == "bridge":
            out.append("## `bridge`\n\nThe same keys as `published`.\n")
        elif model is not None:
            out.append(f"## `{name}`\n\n{inspect.getdoc(model)}\n\n" + _table(_rows(model, f"{name}.")))
    return "\n".join(out)


def _table(rows: Iterable[Row]) -> str:
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for key, *rest in rows:
        cells = [f"`{key}`", *(cell.replace("|", "\\|") for cell in rest)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
