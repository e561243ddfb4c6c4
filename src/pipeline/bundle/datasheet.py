"""Datasheet of a run's data set (Gebru et al. 2021), from its manifests and config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LICENCE = "Apache-2.0 for what this project made; input DEMs keep their owners' terms."


def datasheet(
    stages: Mapping[str, Any],
    manifests: Mapping[str, Any],
    facts: Mapping[str, Any],
    inputs: Mapping[str, Any],
) -> str:
    """The datasheet as Markdown.

    Parameters
    ----------
    stages : ``stages.json``. manifests : manifests of the shards by stage.
    facts : ``terrain`` (its index) and ``split``. inputs : ``inputs.json``.
    """
    config = stages["config"]
    grid = next(iter(manifests.values()))["grid"]
    counts = facts["split"]["counts"]
    per_split = {split: n for m in manifests.values() for split, n in m["patches"].items()}
    parts = [
        f"# Datasheet: terrain and light of run `{stages['run']}`",
        _motivation(),
        _composition(config, grid, counts, per_split, facts["terrain"]),
        _collection(config, inputs),
        _processing(config, grid),
        _uses(config),
        _distribution(manifests),
    ]
    return "\n\n".join(parts) + "\n"


def _motivation() -> str:
    return """## Motivation

Made to train and test super-resolution of lunar digital elevation models (DEMs) with the help of image sets.
Made by the run that this bundle records."""


def _composition(
    config: Mapping[str, Any],
    grid: Mapping[str, Any],
    counts: Mapping[str, int],
    per_split: Mapping[str, int],
    terrain: Mapping[str, Any],
) -> str:
    size, pixel, factor = grid["size_px"], grid["pixel_m"], grid["factor"]
    rows = "\n".join(f"| {split} | {n} |" for split, n in sorted(per_split.items()))
    sites = ", ".join(f"`{site['name']}`" for site in terrain["sites"])
    split = config["split"]
    how = {
        "block": f"by blocks of {split['block_px']} px, so that neighbours fall into one split",
        "site": "by whole sites",
        "random": "at random: neighbouring patches may fall into different splits",
        "test": "every patch is test",
    }[split["method"]]
    dropped = counts.get("dropped", 0)
    return f"""## Composition

An instance is one patch of terrain of {size} x {size} px at {pixel:g} m a pixel (heights in metres above a
sphere of radius 1737400 m), with up to {grid["halo_px"]} px of terrain around it, and which of its pixels the
Sun lights from each of 360 fixed and 30 jittered Fibonacci directions. A priori DEMs ({factor} times coarser)
and images are computed from these when they are read.

| split | patches |
|---|---|
{rows}

The split is {how}; {dropped} kept patches are in none, as gaps between splits. Sites: {sites}.
No pixel is in two splits. Nothing is confidential, nothing is about people."""


def _collection(config: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    if inputs["synthetic"]:
        how = (
            "The terrain is synthetic: fractal relief with craters (section `synthetic` of `config.json`), "
            f"seed {config['synthetic']['seed']}. No measurement is in it."
        )
    else:
        lines = "\n".join(
            f"| {f['role']} | {f['name']} | `{f['sha256'][:16]}…` | {f['url'] or 'given by the user'} |"
            for f in inputs["files"]
        )
        how = (
            "DEMs and count maps as downloaded or given; whole digests are in `inputs.json`.\n\n"
            f"| role | file | sha256 | from |\n|---|---|---|---|\n{lines}"
        )
    share = config["coverage"]["min_share"]
    kept = f"at least {share:.1%} of their pixels are measured" if share > 0 else "the DEM has no gap in them"
    return f"## Collection\n\n{how}\n\nPatches are kept where {kept}."


def _processing(config: Mapping[str, Any], grid: Mapping[str, Any]) -> str:
    light, law = config["illumination"], config["photometry"]
    draws = "\n".join(
        f"- `{name}`: latitudes {_span(d['latitude'])}, {_span(d['images'])} images"
        for name, d in sorted(config["arcs"]["test"].items())
    )
    return f"""## Preprocessing

Overlapping windows on one lattice are merged before patches are cut. Shadows are traced with
`{light["engine"]}` ({light["sun"]} Sun, terrain up to {light["halo_px"]} px around a patch). Images are
rendered from the DEM with the {law["law"]} law: they are not photographs. The a priori DEM is the mean over
{grid["factor"]} x {grid["factor"]} px.

The images of each test patch are drawn once (section `arcs.test`) and stored:

{draws}"""


def _span(value: Any) -> str:
    if isinstance(value, Mapping):
        low, high = value["low"], value["high"]
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return str(value)


def _uses(config: Mapping[str, Any]) -> str:
    used = ", ".join(f"`{s}`" for s in config["systems"]) or "none; given weights were scored"
    return f"""## Uses

Trained in this run: {used}. Scores on it say how well terrain is recovered from ideal images of that terrain.
They do not say how well real images do, which have noise, albedo and misregistration. Not for hazard maps or
landing decisions."""


def _distribution(manifests: Mapping[str, Any]) -> str:
    shards = sum(len(m["shards"]) for m in manifests.values())
    return f"""## Distribution and maintenance

The bundle holds the patches of `subset/`; the workflow makes all {shards} shards again, and `manifests/` has
the sha256 of each. {_LICENCE} Faults are mended in the project's repository; a mended data set has other
keys."""
