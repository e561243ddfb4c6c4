"""What people read in a bundle: its README, and a card for each model."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHOWN = (
    ("rmse_m", "RMSE (m)"),
    ("slope_deg", "slope error (deg)"),
    ("spread_skill_fair", "spread / skill"),
    ("crps_fair_m", "CRPS (m)"),
    ("rmse_vs_bicubic", "RMSE / bicubic"),
)


def scores_table(rows: Mapping[str, Mapping[str, Any]], first: str = "system") -> str:
    """Scores by name as a Markdown table."""
    head = "| " + " | ".join((first, *(label for _, label in SHOWN))) + " |"
    lines = [head, "|" + "---|" * (len(SHOWN) + 1)]
    for name, row in rows.items():
        cells = (f"{row[key]:.3g}" if key in row else "–" for key, _ in SHOWN)
        lines.append("| " + " | ".join((f"`{name}`", *cells)) + " |")
    return "\n".join(lines)


def parameters(path: Path) -> int:
    """Numbers in a safetensors file, read from its header."""
    with path.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def model_card(
    name: str, path: Path, config: Mapping[str, Any], metrics: Mapping[str, Any], stages: Mapping[str, Any]
) -> str:
    """A model card (Mitchell et al. 2019) from a model's config and scores.

    Parameters
    ----------
    name : in the bundle. path : weights. config : the ``config.json`` beside them.
    metrics : ``metrics.json``. stages : ``stages.json``.
    """
    run, grid = stages["config"], config.get("grid") or {}
    vae = config["kind"] == "vae"
    section = config["section"]
    if vae:
        what = f"KL autoencoder, base {section['base']}, {section['latent_channels']} latent channels"
    else:
        what = (
            f"{section['process']} bridge in {section['space']} space, target {section['target']}, "
            f"{section['conditioning']} conditioning, network {section['network']}"
        )
    scale = {"pixel": "units of the pixel: pixels may have any size", "km": "kilometres"}
    rows = [
        ("files", f"`model.safetensors` ({parameters(path):,} parameters), `config.json`"),
        ("fingerprint, training key", f"`{config['fingerprint']}`, `{config.get('key')}`"),
        ("made by", f"stage `{config.get('stage', name)}` of run `{stages['run']}`; record in `run.json`"),
        ("what it is", what),
        ("heights in", scale.get(section["height_unit"], section["height_unit"])),
        ("licence", "Apache-2.0, as the project"),
    ]
    if name.startswith("pretrained"):
        rows[2] = ("made by", "an earlier training; given to this run, not trained in it")
    if grid:
        size, factor = grid["size_px"], grid["factor"]
        rows.insert(
            4, ("input", f"a priori DEM of {size // factor} x {size // factor} cells; images, Suns, masks")
        )
        rows.insert(
            5, ("output", f"terrain of {size} x {size} px, {factor} times finer; trained at {_pixel(grid)}")
        )
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    return f"""# Model card: `{name}`

| | |
|---|---|
{table}

## Intended use

{"Latents for the bridges of this bundle." if vae else "Research on super-resolution of lunar topography."}
Not for hazard maps or landing decisions: what it gives is what it finds likely, not measured.

## Data

{_trained(name)}; scored on the test split (`datasheet.md`).
Split: `{run["split"]["method"]}`. {_terrain(run)}

## How good it is

{_model_scores(name, metrics)}

Means, intervals and all other numbers are in `evaluation/metrics.json`, every patch's in
`evaluation/patches.csv`; `make verify` computes those of the shipped patches again.

## Limits

It has seen rendered images alone ({run["photometry"]["law"]} law, {run["illumination"]["sun"]} Sun), no real
ones. At other sites, pixel sizes or lights its errors are unknown until they are measured there.
"""


def _trained(name: str) -> str:
    if name.startswith("pretrained"):
        return "Given: trained elsewhere, on what its own card says"
    return (
        "Trained on the training split; its `calibration.json`, where there is one, is fitted on the "
        "validation split, and counts training patches where they ask for more spread"
    )


def _pixel(grid: Mapping[str, Any]) -> str:
    pixel = grid.get("pixel_m")
    return f"{pixel:g} m a pixel" if pixel else "any pixel size"


def _terrain(run: Mapping[str, Any]) -> str:
    if run["inputs"]["dem"] == "synthetic":
        return "The terrain is synthetic: scores say how the pipeline works, not how good it is on the Moon."
    return "Terrain: the files of `inputs.json`."


def _model_scores(name: str, metrics: Mapping[str, Any]) -> str:
    rows = {
        label: entry["systems"][name]
        for label, entry in metrics["conditions"].items()
        if name in entry["systems"]
    }
    if rows:
        return scores_table(rows, "condition")
    if metrics["floors"]:
        return "What the VAE alone loses (it sees the truth):\n\n" + scores_table(metrics["floors"], "floor")
    return "It was not scored in this run."


def readme(stages: Mapping[str, Any], metrics: Mapping[str, Any], subset: Mapping[str, Any]) -> str:
    """The bundle's README."""
    primary = metrics["primary"]
    names = [n for n in ("bicubic", "bicubic_window", primary) if n in metrics["systems"]]
    row = metrics["systems"][primary]
    count = subset["patches"]["test"]
    return f"""# Reproducibility bundle of run `{stages["run"]}`

{scores_table({name: metrics["systems"][name] for name in names})}

Test split, {row["n_patches"]} patches, means of {row["members"]} members; `{primary}` is the system that is
shipped.

## Check it

With a clone of the project (Python 3.11; or with `source/` of this bundle, unpacked):

```bash
make verify BUNDLE=path/to/bundle.zip
```

It compares every file with `SHA256SUMS`; pools `evaluation/patches.csv` again and compares with
`evaluation/metrics.json`; runs the evaluation of the shipped weights on the {count} shipped patches again
and compares with their rows in `patches.csv`; scores the region again from its GeoTIFFs; and plans the
workflow again from `config.json` and `source/`. It prints a table of PASS and FAIL and ends with 1 on any
FAIL. What it cannot find is said in `source/docs/reproducibility.md`.

`SHA256SUMS` protects against damage, not against malice: compare the archive's own sha256 with the published
one.

## Run it again

Unpack, then, with the input files of `inputs.json` where `config.json` says:

```bash
cd source && make env && .venv/bin/snakemake --configfile ../config.json -c2 all
```

On the same kind of processor the results have the same bytes.

## What is in it

| path | what |
|---|---|
| `stages.json` | every stage: key, config section, digest of its code, inputs; versions of packages |
| `config.json` | the resolved configuration |
| `inputs.json` | sha256 of every input file, and its URL where it has one |
| `evaluation/` | `metrics.json` and `metrics.csv` (all numbers), `patches.csv` (every test patch) |
| `region/` | GeoTIFFs of the reconstructed region, its scores and a picture |
| `models/` | weights (safetensors), config, training curve, run record and card of each model |
| `subset/` | the first {count} test patches with their light, as a shard |
| `manifests/` | sha256 of every training and test shard |
| `records/` | what ran: stage, key and config section |
| `report.html`, `figures/` | everything as pictures |
| `datasheet.md` | about the data set |
| `source/` | code, configuration, pinned environments (`source/envs/`), tests |
| `ro-crate-metadata.json` | all this for machines (Provenance Run Crate 0.5) |
| `SHA256SUMS` | check with `sha256sum -c SHA256SUMS` |
"""
