"""From LOLA and NAC to a map, step by step: docs/tutorial_map.md as a marimo notebook.

pip install --no-build-isolation -e .[notebook]
marimo edit notebooks/map.py    # in the project's folder
"""

import marimo

app = marimo.App(width="medium", app_title="From LOLA and NAC to a map")


@app.cell
def _():
    import csv
    import json
    import shlex
    import subprocess
    import sys
    from pathlib import Path

    import marimo as mo

    def run(command: str) -> str:
        """Run `lunar-bridge` in this folder; what it prints, or a ValueError with its last lines."""
        words = shlex.split(command)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise ValueError("\n".join(done.stdout.splitlines()[-20:]))
        return done.stdout

    return Path, csv, json, mo, run


@app.cell
def _(mo):
    mo.md(
        """
        # From LOLA and NAC to a map

        Put a DEM and the index of LROC's images into `my/` (`docs/tutorial_map.md`, step 1). Files, place and
        size are words of the two commands below; change them there.
        """
    )
    return


@app.cell
def _(mo):
    choose = mo.ui.text_area(
        label="Which images",
        value="lunar-bridge select --dem my/ldem.tif --suns my/index.csv --pixel 40 "
        "--center 83640 110360 --size 192 --want 16 --out my/wanted.csv",
        full_width=True,
    )
    plan = mo.ui.text_area(
        label="What the map would be made of",
        value="lunar-bridge map --dem my/ldem.tif --images 'my/nac/*.tif' --suns my/index.csv --pixel 40 "
        "--center 83640 110360 --size 192 --members 4 --out results/nobile --dry-run",
        full_width=True,
    )
    mo.vstack([choose, plan])
    return choose, plan


@app.cell
def _(choose, mo, run):
    ranked = run(choose.value)
    mo.md(f"## Which images\n\n```\n{ranked}\n```\n\nDownload these and project them to `my/nac/` (step 3).")
    return (ranked,)


@app.cell
def _(Path, mo, plan, run):
    mo.stop(not list(Path("my/nac").glob("*")), mo.md("No images in `my/nac/` yet."))
    planned = run(plan.value).partition("\nwork:")[0]
    mo.md(f"## What the map would be made of\n\n```\n{planned}\n```")
    return (planned,)


@app.cell
def _(mo):
    make = mo.ui.run_button(label="Make the map")
    mo.vstack([make])
    return (make,)


@app.cell
def _(Path, make, mo, plan, run):
    words = plan.value.removesuffix(" --dry-run")
    folder = Path(words.split("--out")[1].split()[0]) / "map"
    if make.value:
        run(words)
    mo.stop(not (folder / "map.json").is_file(), mo.md("No map yet: press the button."))
    products = sorted(folder.glob("*.tif"))
    mo.md(f"`{folder}` holds {', '.join(p.name for p in products)}, and `viewer.html` for a browser.")
    return folder, products


@app.cell
def _(csv, folder, json, mo):
    facts = json.loads((folder / "map.json").read_text())
    with (folder / "images.csv").open(newline="") as stream:
        images = list(csv.DictReader(stream))
    mo.vstack(
        [
            mo.md(f"## What it says\n\n**{facts['check']['verdict']}**"),
            mo.image(str(folder / "quicklook.png")),
            mo.ui.table(images),
        ]
    )
    return facts, images


@app.cell
def _(folder, mo):
    import matplotlib.pyplot as plt
    import rasterio

    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, (name, unit) in zip(axes, (("mean", "m"), ("std", "m"), ("slope", "deg")), strict=True):
        with rasterio.open(folder / f"{name}.tif") as file:
            shape = tuple(min(n, 512) for n in file.shape)
            shown = axis.imshow(file.read(1, out_shape=shape, masked=True))
        axis.set_title(f"{name}.tif, {unit}")
        axis.set_axis_off()
        figure.colorbar(shown, ax=axis)
    mo.vstack([mo.md("## The map"), figure])
    return (figure,)


if __name__ == "__main__":
    app.run()
