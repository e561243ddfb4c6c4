"""A small finished run, made up but true to every format, for the tests of the report."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from raster_files import write_tif
from scipy import ndimage

from pipeline.config.photometry import PhotometrySection
from pipeline.config.report import ReportSection
from pipeline.config.root import load_config
from pipeline.config.stages.report import ReportStage
from pipeline.config.stages.shards import ManifestStage
from pipeline.config.stages.terrain import TerrainStage
from pipeline.evaluation.metrics import PatchScores
from pipeline.illumination.directions import draw_arc_set, fibonacci_directions, fixed_directions
from pipeline.illumination.missing import WHOLE_HALF_WIDTH_PX, draw_strip
from pipeline.shards.manifest import write_manifest
from pipeline.storage.atomic import write_json
from pipeline.storage.store import StoreWriter
from pipeline.terrain.index import index_terrain

PIXEL_M, ROWS, COLS = 20.0, 4, 5
TEST = (3, 8, 9, 14)
# (halo included DEM, Suns (n, 3)) -> visibility (n, P, P) bool; everything lit where there is none.
Tracer = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Stages in the order in which a report tells them, with their inputs.
STAGES: dict[str, tuple[str, ...]] = {
    "terrain": (),
    "shards": ("terrain",),
    "vae": ("shards",),
    "published_fibonacci": ("vae", "shards"),
    "published_arcs": ("published_fibonacci",),
    "evaluation_bicubic": ("shards",),
    "evaluation_published_arcs": ("published_arcs",),
    "evaluation": ("evaluation_bicubic", "evaluation_published_arcs"),
    "region": ("published_arcs", "terrain"),
    "report": ("evaluation", "region"),
}


@dataclass(frozen=True)
class Run:
    """Files of a run: `section` and `inputs` are what the stage gets."""

    section: ReportStage
    inputs: dict[str, Any]
    metrics: dict[str, Any]


def heights(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Rough terrain with a few bowls, float32 metres."""
    rng = np.random.default_rng(seed)
    k2 = np.fft.fftfreq(rows)[:, None] ** 2 + np.fft.rfftfreq(cols)[None] ** 2
    spectrum = np.fft.rfft2(rng.normal(size=(rows, cols))) / (k2 + 2e-5) ** 1.2
    relief = np.fft.irfft2(spectrum, (rows, cols))
    dem = 120 * relief / relief.std()
    y, x = np.mgrid[:rows, :cols]
    for _ in range(rows * cols // 4000):
        r0, c0, size = rng.uniform(0, rows), rng.uniform(0, cols), 4 * rng.pareto(1.6) + 3
        d = np.hypot(y - r0, x - c0) / min(size, 40.0)
        dem -= min(size, 40.0) * 4 * np.exp(-(d**4)) - min(size, 40.0) * np.exp(-(((d - 1.1) / 0.25) ** 2))
    return dem.astype(np.float32)


def make_run(
    folder: Path,
    *,
    label: str = "made_up",
    size: int = 96,
    factor: int = 16,
    systems: tuple[str, ...] = ("published_missing", "bridge_missing"),
    strips: bool = True,
    region: bool = True,
    images: int = 30,
    tracer: Tracer | None = None,
    variants: dict[str, Any] | None = None,
) -> Run:
    """Write a run below `folder`; its primary system is the last of `systems`."""
    names = [s.rpartition("_")[0] for s in systems]
    config = load_config(
        {
            "run": "made_up",
            "systems": sorted(set(names), key=names.index),
            "primary": systems[-1],
            "variants": variants or {},
            "inputs": {"dem": "synthetic"},
            "patches": {"size_px": size, "stride_px": size, "halo_px": factor, "factor": factor, "tiles": 2},
            "arcs": {"test": {"main": {"latitude": [80, 88], "images": images}}},
            "coverage": {"min_share": 0.1},
            "evaluation": {"members": 5, "conditions": {
                "main": {"missing": strips}, "whole": {"missing": False}}},
            "region": {"size_px": 2 * size, "stride_px": factor},
        }
    )  # fmt: skip
    dem = heights(ROWS * size + 2 * factor, COLS * size + 2 * factor)
    inputs: dict[str, Any] = {"terrain": _terrain(folder, dem)}
    inputs |= _tables(folder, size, factor)
    shards = _shards(folder, dem, size, factor, config.arcs.test["main"], strips, tracer)
    inputs["manifests"] = [str(shards)]
    examples, rows = _examples(folder, dem, size, factor, systems)
    inputs["examples"] = examples
    inputs["training"] = _training(folder, systems)
    metrics = _metrics(rows, systems[-1], strips)
    write_json(folder / "metrics.json", metrics)
    inputs["metrics"] = str(folder / "metrics.json")
    if region:
        inputs["region"] = _region(folder, rows[systems[-1]])
    write_json(
        folder / "stages.json",
        {
            "schema": "stages/1",
            "run": label,
            "config": config.model_dump(mode="json", exclude={"runtime"}),
            "files": [["dem", "made_up.tif", "0" * 64]],
            "versions": {"numpy": "2.0.0", "torch": "2.6.0"},
            "stages": {
                name: {"key": "a" * 12, "code": "b" * 64, "inputs": list(of), "section": "{}", "folder": "x"}
                for name, of in STAGES.items()
            },
        },
    )  # fmt: skip
    inputs["stages"] = str(folder / "stages.json")
    section = ReportStage(report=ReportSection(patches=2), photometry=PhotometrySection(), config="c" * 12)
    return Run(section, inputs, metrics)


def _terrain(folder: Path, dem: np.ndarray) -> str:
    path = write_tif(folder / "made_up.tif", dem, pixel=PIXEL_M)
    out = folder / "terrain.json"
    index_terrain([path], None, TerrainStage(pixel_m=PIXEL_M), out)
    return str(out)


def _corners(size: int, factor: int) -> list[tuple[int, int]]:
    return [(factor + r * size, factor + c * size) for c in range(COLS) for r in range(ROWS)]


def _tables(folder: Path, size: int, factor: int) -> dict[str, Any]:
    """Two tiles of patches; the last patch has too little coverage, and one is dropped by the split."""
    corners = _corners(size, factor)
    labels = {}
    for i in range(len(corners) - 1):
        labels[str(i)] = "test" if i in TEST else "validation" if i in (0, 1) else "train"
    labels["5"] = "dropped"
    selected = []
    for tile, ids in enumerate((range(0, 10), range(10, len(corners)))):
        patches = [
            {
                "id": i, "row": corners[i][0], "col": corners[i][1], "site": 0, "on_grid": True, "x0": 0.0,
                "y0": 0.0, "coverage": 0.5, "kept": str(i) in labels,
                "code": None if str(i) in labels else "low_coverage",
            }
            for i in ids
        ]  # fmt: skip
        selected.append(str(folder / f"tile_{tile:03d}.json"))
        head = {"schema": "selected/1", "tile": tile, "min_share": 0.1, "sites": []}
        write_json(selected[-1], {**head, "patches": patches})
    split = {
        "schema": "split/1", "method": "block", "patches": labels, "counts": {},
        "dropped": {"shares pixels with a held-out patch": 1},
    }  # fmt: skip
    write_json(folder / "split.json", split)
    return {"selected": selected, "split": str(folder / "split.json")}


def _shards(
    folder: Path, dem: np.ndarray, size: int, halo: int, draw: Any, strips: bool, tracer: Tracer | None
) -> Path:
    rng = np.random.default_rng(1)
    corners = [_corners(size, halo)[i] for i in TEST]
    windows = [dem[r - halo : r + size + halo, c - halo : c + size + halo] for r, c in corners]
    fixed = fixed_directions().astype("f4")
    fibonacci = [fibonacci_directions(30, 3.0, rng) for _ in TEST]
    n, line = len(TEST), ("patch",)
    attrs = {
        "pixel_m": PIXEL_M, "size_px": size, "halo_px": halo, "factor": halo, "split": "test",
        "light_halo_px": halo, "sun": "point",
    }  # fmt: skip
    with StoreWriter(folder / "test_000.zarr.zip", "shard", attrs) as w:
        w.write("dem", np.stack(windows), ("patch", "y", "x"), (1, *windows[0].shape))
        w.write("id", np.array(TEST, "i8"), line)
        for name, values in (("row", [r for r, _ in corners]), ("col", [c for _, c in corners])):
            w.write(name, np.array(values, "i4"), line)
        for name in ("x0", "y0", "lon", "lat"):
            w.write(name, np.zeros(n), line)
        w.write("site", np.zeros(n, "i4"), line)
        w.write("on_grid", np.ones(n, bool), line)
        w.write("halo", np.full((n, 4), halo, "i4"), ("patch", "side"))
        w.write("pole", -np.ones(n, "i1"), line)
        w.write("fixed/sun", fixed, ("direction", "vector"))
        suns = np.stack([s for s, _ in fibonacci]).astype("f4")
        w.write("fibonacci/sun", suns, ("patch", "direction", "vector"))
        w.write("fibonacci/present", np.stack([p for _, p in fibonacci]), ("patch", "direction"))
        for group, own in (("fixed", [fixed] * n), ("fibonacci", list(suns))):
            lit = [
                np.ones((len(s), size, size), bool) if tracer is None else tracer(window, s)
                for window, s in zip(windows, own)
            ]
            bits = np.packbits(np.stack(lit), axis=-1)
            w.write(f"{group}/lit", bits, ("patch", "direction", "y", "xbyte"), (1, *bits.shape[1:]))
        drawn = [draw_arc_set(draw, 0.1, rng) for _ in TEST]
        w.write("draws_main/lon", np.array([lon for lon, _, _ in drawn]), line)
        w.write("draws_main/lat", np.array([lat for _, lat, _ in drawn]), line)
        images = np.stack([i for _, _, i in drawn]).astype("i4")
        w.write("draws_main/images", images, ("patch", "image"))
        kept = np.tile([0.0, 0.0, 0.0, WHOLE_HALF_WIDTH_PX], (*images.shape, 1))
        if strips:
            section = load_config({"inputs": {"dem": "synthetic"}}).masks.test
            kept = np.array([[draw_strip(rng, section, size) for _ in row] for row in images])
        w.write("draws_main/strips", kept, ("patch", "image", "strip"))
    write_manifest(
        {"test": str(folder / "test_000.zarr.zip")},
        ManifestStage(statistics_patches=2000),
        folder / "manifest_test.json",
    )
    return folder / "manifest_test.json"


def _examples(
    folder: Path, dem: np.ndarray, size: int, factor: int, systems: tuple[str, ...]
) -> tuple[list[str], dict[str, Any]]:
    """Stores of examples, and rows of scores that belong to them."""
    truths = []
    for i in TEST:
        row, col = _corners(size, factor)[i]
        patch = dem[row : row + size, col : col + size].astype(float)
        truths.append(patch - patch.mean())
    n = size // factor
    coarse = [t.reshape(n, factor, n, factor).mean(axis=(1, 3)) for t in truths]
    priors = [ndimage.zoom(c, factor, order=3, mode="nearest", grid_mode=True) for c in coarse]
    rows: dict[str, Any] = {}
    paths = []
    baseline = PatchScores(PIXEL_M)
    for truth, prior in zip(truths, priors):
        baseline.add(prior, truth)
    rows["bicubic"] = baseline.summary(20, 0)
    rows["bicubic_window"] = rows["bicubic"]
    for number, system in enumerate(systems):
        rng = np.random.default_rng(number)
        scores, fields = PatchScores(PIXEL_M), {k: [] for k in ("mean", "clone", "std", "image")}
        share = 0.6 / (number + 1)
        for index, (truth, prior) in enumerate(zip(truths, priors)):
            noise = ndimage.gaussian_filter(rng.normal(size=(5, size, size)), (0, 3, 3))
            error = ndimage.gaussian_filter(prior - truth, 2) * share
            members = truth + error + noise * 0.5 * error.std() / noise.std()
            scores.place(0, f"0:{index}")
            scores.add_ensemble(members, truth, rng, prior)
            fields["mean"].append(members.mean(axis=0))
            fields["clone"].append(members[0])
            fields["std"].append(members.std(axis=0, ddof=1))
            fields["image"].append(np.zeros_like(truth))
        rows[system] = scores.summary(20, 0) | {"nfe": 10}
        paths.append(str(folder / f"{system}.examples.zarr.zip"))
        with StoreWriter(paths[-1], "examples", {"pixel_m": PIXEL_M, "system": system}) as w:
            w.write("id", np.array(TEST, "i8"), ("patch",))
            for name, values in (fields | {"truth": truths, "prior": priors}).items():
                w.write(name, np.stack(values).astype("f4"), ("patch", "y", "x"))
    return paths, rows


def _training(folder: Path, systems: tuple[str, ...]) -> list[str]:
    rng = np.random.default_rng(2)
    paths = []
    for stage in ("vae", *systems):
        path = folder / stage / "0" / "metrics.jsonl"
        path.parent.mkdir(parents=True)
        lines = []
        for step in range(1, 61):
            loss = float(5 * step**-0.4 * rng.uniform(0.8, 1.2))
            parts = {"reconstruction": loss, "kl": 3.0} if stage == "vae" else {"bridge": loss}
            lines.append(json.dumps({"samples": step * 256, "learning_rate": 1e-4, "loss": loss, **parts}))
        path.write_text("\n".join(lines) + "\n")
        paths.append(str(path))
    return paths


def _metrics(rows: dict[str, Any], primary: str, strips: bool) -> dict[str, Any]:
    for row in rows.values():
        for score, key in (("rmse", "rmse_m"), ("slope", "slope_deg")):
            for base in ("bicubic", "bicubic_window"):
                row[f"{score}_vs_{base}"] = row[key] / rows[base][key]
    trained = {k: v for k, v in rows.items() if "members" in v}
    settings = {"draw": "main", "light": "arcs", "missing": False}
    return {
        "schema": "metrics/1",
        "primary": primary,
        "systems": rows,
        "floors": {"vae_truth": rows["bicubic"]},
        "conditions": {
            "main": {"settings": settings | {"missing": strips}, "systems": trained},
            "whole": {"settings": settings, "systems": trained},
        },
        "models": {name: {"fingerprint": "f" * 16, "key": "e" * 12} for name in trained},
    }


def _region(folder: Path, row: dict[str, Any]) -> list[str]:
    out = folder / "region"
    out.mkdir()
    png = io.BytesIO()
    Image.fromarray(np.zeros((60, 100, 3), np.uint8)).save(png, format="PNG")
    (out / "quicklook.png").write_bytes(png.getvalue())
    scores = {"mean": row, "bicubic": {k: row[k] for k in ("rmse_m", "rmse_px", "slope_deg", "mae_m")}}
    place = {"site": "made_up", "row": 0, "col": 0, "size_px": 192, "pixel_m": PIXEL_M,
             "center_m": [0.0, 0.0], "lon": 12.5, "lat": -88.0}  # fmt: skip
    write_json(
        out / "metrics.json",
        {
            "schema": "region/1",
            "model_fingerprint": "f" * 16,
            "key": "e" * 12,
            "place": place,
            "windows": {"count": 49, "size_px": 96, "stride_px": 16},
            "members": 4,
            "nfe": 10,
            "images": {"count": 300, "per_window": {"least": 3, "median": 40.0, "most": 61},
                       "windows_without": 0, "pixels_without_share": 0.0125},
            "region": scores,
            "test_patches": {"test": 2, "train": 1, "test_share": 0.5, "scores": scores},
            "std": {"rms_m": 1.5, "spread_skill": 0.81, "within_1_std": 0.6, "within_2_std": 0.9,
                    "error_correlation": 0.4},
        },
    )  # fmt: skip
    return [str(out / name) for name in ("metrics.json", "quicklook.png")]
