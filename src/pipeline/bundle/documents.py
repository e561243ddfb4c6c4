"""Documents of a bundle: its README, the datasheet of the data set and one card per model."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.bundle.front_matter import front_matter
from pipeline.storage.templates import templates

Facts = Mapping[str, Any]


def parameters(path: Path) -> int:
    """Number of parameters in a safetensors file, read from its header."""
    with path.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _fill(template: str, **values: Any) -> str:
    return templates("pipeline.bundle").get_template(template).render(values)


def model_card(name: str, path: Path, config: Facts, metrics: Facts, stages: Facts) -> str:
    """A model card (Mitchell et al. 2019) from a model's config and scores, as the Hugging Face Hub reads it.

    Parameters
    ----------
    name : of the model in the bundle. path : its weights. config : the ``config.json`` beside them.
    metrics : content of ``metrics.json``. stages : content of ``stages.json``.
    """
    conditions = {label: entry["systems"] for label, entry in metrics["conditions"].items()}
    rows = {label: systems[name] for label, systems in conditions.items() if name in systems}
    synthetic = stages["config"]["inputs"]["dem"] == "synthetic"
    return _fill(
        "model_card.md",
        front=front_matter(name, config["kind"], rows, stages["run"], synthetic),
        name=name,
        parameters=parameters(path),
        config=config,
        metrics=metrics,
        stages=stages,
        run=stages["config"],
        rows=rows,
    )


def datasheet(stages: Facts, manifests: Facts, inputs: Facts) -> str:
    """Datasheet of a run's data set (Gebru et al. 2021), from its manifests and config, as Markdown.

    Parameters
    ----------
    stages : content of ``stages.json``. manifests : manifests of the shards by stage.
    inputs : content of ``inputs.json``.
    """
    return _fill(
        "datasheet.md",
        stages=stages,
        config=stages["config"],
        grid=next(iter(manifests.values()))["grid"],
        patches={split: n for m in manifests.values() for split, n in m["patches"].items()},
        shards=sum(len(m["shards"]) for m in manifests.values()),
        inputs=inputs,
    )


def readme(stages: Facts, metrics: Facts, subset: Facts) -> str:
    """The bundle's README, from ``stages.json``, ``metrics.json`` and the manifest of the shipped subset."""
    primary, systems = metrics["primary"], metrics["systems"]
    names = [n for n in ("bicubic", "bicubic_window", primary) if n in systems]
    return _fill(
        "readme.md",
        stages=stages,
        primary=primary,
        rows={name: systems[name] for name in names},
        count=subset["patches"]["test"],
        given=_given(stages),
    )


def _given(stages: Facts) -> str:
    """Words for Snakemake's ``--config`` that name the bundle's own copies of given weights; maybe empty."""

    def copies(name: str, vae: str, given: Facts) -> dict[str, str]:
        return {"weights": f"../models/{name}"} | ({"vae": f"../models/{vae}"} if given["vae"] else {})

    found, own, words = stages["found"], stages["config"]["predictors"], dict[str, Any]()
    if found["given"]:
        words["pretrained"] = copies("pretrained", "pretrained_vae", found["given"])
    for name, given in found.get("rivals", {}).items():
        place = words.setdefault("predictors", {})
        for group in ("bridges", "variants"):
            if name in (own.get(group) or {}):
                place = place.setdefault(group, {})
        place[name] = copies(name, f"vae_{name}", given)
    return " ".join(f"'{key}={json.dumps(value)}'" for key, value in words.items())
