"""A finished tiny run: its files are what the documentation says, whole, and the same anywhere."""

from __future__ import annotations

import json
import math
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from forked import Forks
from interrupted import artefacts

pytestmark = pytest.mark.xdist_group("tiny")
ROOT = Path(__file__).resolve().parents[2]

SYSTEMS = [
    f"{system}_{stage}" for system in ("published", "bridge") for stage in ("fibonacci", "arcs", "missing")
]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_metrics_have_the_documented_shape(tiny: Path) -> None:
    metrics = read(tiny / "results" / "tiny" / "evaluation" / "metrics.json")
    assert metrics["schema"] == "metrics/1"
    assert metrics["primary"] == "bridge_missing"
    assert set(metrics["systems"]) == {"bicubic", "bicubic_window", "photometric", *SYSTEMS}
    assert set(metrics["floors"]) == {"vae_truth", "vae_bicubic"}
    assert set(metrics["conditions"]) == {"main", "missing"}
    for label, condition in metrics["conditions"].items():
        assert set(condition["systems"]) == {"photometric", *SYSTEMS}
        assert condition["settings"]["missing"] == (label == "missing")
    for name, row in {**metrics["systems"], **metrics["floors"]}.items():
        assert row["n_patches"] == 8
        for key in ("rmse_m", "rmse_px", "slope_deg", "rmse_vs_bicubic", "slope_vs_bicubic"):
            assert math.isfinite(row[key]), (name, key)
            assert row[key] > 0
        assert row["rmse_px"] == pytest.approx(row["rmse_m"] / 20)
        if name in SYSTEMS:
            assert (row["members"], row["nfe"]) == (3, 2)
    assert metrics["systems"]["bicubic"]["rmse_vs_bicubic"] == 1
    assert metrics["systems"]["bicubic_window"]["rmse_vs_bicubic"] < 1
    for name in ("vae", *SYSTEMS):
        folder = tiny / "results" / "tiny" / "store" / name
        assert metrics["models"][name]["fingerprint"] == read(folder / "config.json")["fingerprint"]
        assert metrics["models"][name]["key"] == folder.resolve().name


def test_the_table_holds_the_numbers_of_the_metrics(tiny: Path) -> None:
    folder = tiny / "results" / "tiny" / "evaluation"
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    metrics = read(folder / "metrics.json")
    rows = {(line[0], line[1]): dict(zip(lines[0], line)) for line in lines[1:]}
    for name in SYSTEMS:
        assert float(rows["main", name]["rmse_m"]) == pytest.approx(
            metrics["systems"][name]["rmse_m"], rel=1e-5
        )
        missing = metrics["conditions"]["missing"]["systems"][name]["rmse_m"]
        assert float(rows["missing", name]["rmse_m"]) == pytest.approx(missing, rel=1e-5)


def test_snakemakes_report_holds_table_picture_and_page(tiny: Path, tmp_path: Path, forks: Forks) -> None:
    archive = tmp_path / "report.zip"
    words = ["snakemake", "-s", str(ROOT / "Snakefile"), "--report", str(archive)]
    code, text = forks(tiny, [*words, "--configfile", "config/tiny.yaml"])
    assert code == 0, text[-3000:]
    results = tiny / "results" / "tiny"
    shown = ("evaluation/metrics.csv", "region/quicklook.png", "report.html")
    with zipfile.ZipFile(archive) as report:
        data = {Path(name).name: report.read(name) for name in report.namelist() if "/data/raw/" in name}
        page = report.read("report/report.html").decode()
    assert data == {Path(name).name: (results / name).read_bytes() for name in shown}
    keys = {name: stage["key"] for name, stage in read(results / "stages.json")["stages"].items()}
    for stage in ("evaluation", "region", "report"):
        assert f'Stage key <tt class=\\"docutils literal\\">{keys[stage]}</tt>' in page


def test_region_rasters_open_where_they_belong(tiny: Path) -> None:
    folder = tiny / "results" / "tiny" / "region"
    bands: dict[str, np.ndarray] = {}
    for name in ("mean", "std", "prior", "truth"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with rasterio.open(folder / f"{name}.tif") as raster:
                assert (raster.width, raster.height, raster.count) == (96, 96, 1)
                assert raster.res == (20, 20)
                assert raster.nodata is not None
                wkt = raster.crs.to_wkt()
                bands[name] = raster.read(1, masked=True).filled(np.nan)
        assert "1737400" in wkt
        assert "Stereographic" in wkt
    assert np.isfinite(bands["mean"]).all()
    assert (bands["std"] >= 0).all()
    error = np.sqrt(np.nanmean((bands["mean"] - bands["truth"]) ** 2))
    scores = read(folder / "metrics.json")["region"]
    assert scores["mean"]["rmse_m"] == pytest.approx(error, rel=1e-3)
    assert scores["bicubic"]["rmse_m"] > 0
    assert (folder / "quicklook.png").read_bytes()[:4] == b"\x89PNG"


def groups_of(path: Path) -> list[str]:
    """Every group of a store that holds arrays; the root is ""."""
    with zipfile.ZipFile(path) as archive:
        arrays = [name for name in archive.namelist() if name.endswith("/.zarray")]
    return sorted({name.rsplit("/", 2)[0] if name.count("/") > 1 else "" for name in arrays})


def test_every_store_opens_in_xarray_without_a_warning(tiny: Path) -> None:
    """Each group, as docs/formats.md says, and every value of it can be read."""
    stores = sorted((tiny / "results").rglob("*.zarr.zip"))
    kinds: dict[str, set[str]] = {}
    for path in stores:
        for group in groups_of(path):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                store = zarr.storage.ZipStore(path, mode="r")
                with xr.open_zarr(store, group=group or None) as opened:
                    opened.load()
                    if not group:
                        kind = opened.attrs["schema"]
                        assert "id" in opened
                    kinds.setdefault(kind, set()).add(group)
    assert set(kinds) == {"patches/1", "visibility/1", "shard/1", "examples/1"}
    assert kinds["visibility/1"] == {"", "fibonacci", "fixed"}
    assert {"", "fibonacci", "fixed"} < kinds["shard/1"]  # and the test draws


def test_splits_share_no_patch(tiny: Path) -> None:
    found: dict[str, set[int]] = {}
    for path in (tiny / "results" / "store").glob("shards*/*/*.zarr.zip"):
        opened = xr.open_zarr(zarr.storage.ZipStore(path, mode="r"))
        ids = set(opened["id"].values.tolist())
        split = found.setdefault(opened.attrs["split"], set())
        assert not split & ids
        split |= ids
    assert set(found) == {"train", "validation", "test"}
    assert not found["train"] & found["validation"]
    assert not found["train"] & found["test"]
    assert not found["validation"] & found["test"]


def test_models_have_weights_a_config_a_curve_and_a_record(tiny: Path) -> None:
    for name in ("vae", *SYSTEMS):
        folder = tiny / "results" / "tiny" / "store" / name
        files = {path.name for path in folder.iterdir() if path.is_file()}
        assert files == {"model.safetensors", "config.json", "metrics.jsonl", "run.json", "run.timing.json"}
        assert load_file(folder / "model.safetensors")
        record, config = read(folder / "run.json"), read(folder / "config.json")
        assert record["key"] == config["key"] == folder.resolve().name
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert all(math.isfinite(line["loss"]) for line in lines)
        events = EventAccumulator(str(folder / "events"))
        events.Reload()
        assert [e.step for e in events.Scalars("loss")] == [line["samples"] for line in lines]


def test_the_record_of_a_run_leads_to_its_stages(tiny: Path) -> None:
    record = read(tiny / "results" / "tiny" / "stages.json")
    assert record["schema"] == "stages/1"
    for stage in record["stages"].values():
        if stage["folder"].startswith("results/store/"):
            assert (tiny / stage["folder"]).is_dir()
            assert set(stage["inputs"]) <= set(record["stages"])
    text = (tiny / "results" / "tiny" / "stages.json").read_text()
    assert str(tiny) not in text


def test_nothing_half_written_is_left_behind(tiny: Path) -> None:
    left = [p for p in (tiny / "results").rglob(".*") if p.name != ".digests.json"]
    assert left == []
    assert not list((tiny / "results").rglob("checkpoints"))


def test_every_job_left_a_log_and_a_benchmark(tiny: Path) -> None:
    logs = {p.with_suffix("") for p in (tiny / "results" / "logs").rglob("*.txt")}
    benchmarks = {p.with_suffix("") for p in (tiny / "results" / "logs").rglob("*.tsv")}
    assert len(logs) > 30
    # `why` answers a question: a benchmark would be an output of it, and it would answer once only.
    logs = {p for p in logs if p.parent.parent.name != "why"}
    assert len({p.parent for p in benchmarks} ^ {p.parent for p in logs}) == 0


def test_no_warning_of_ours_reaches_the_logs(tiny: Path) -> None:
    text = "\n".join(p.read_text() for p in (tiny / "results" / "logs").rglob("*.txt"))
    assert not re.findall(r".*(?:WARNING|ERROR).*", text)


def test_the_report_needs_no_other_file(tiny: Path) -> None:
    text = (tiny / "results" / "tiny" / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#|https?://)[^"]+"', text)
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', text)
    assert "bridge_missing" in text


def second(tmp_path: Path, snakemake: Callable, cores: int, workers: int, *targets: str) -> Path:
    """The same run in another place with other numbers of cores and workers."""
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / "config").symlink_to(ROOT / "config")
    (folder / "overlay.yaml").write_text(f"runtime: {{workers: {workers}, log_level: WARNING}}")
    done = snakemake(folder, f"-c{cores}", *targets, "--configfile", "config/tiny.yaml", "overlay.yaml")
    assert done.returncode == 0, done.text[-5000:]
    return folder


def test_shards_are_the_same_bytes_elsewhere(tiny: Path, tmp_path: Path, snakemake: Callable) -> None:
    found = artefacts(second(tmp_path, snakemake, 2, 2, "shards"), ())
    wanted = artefacts(tiny, ())
    assert len(found) > 20
    assert {name: wanted.get(name) for name in found} == found


@pytest.mark.slow
def test_everything_is_the_same_bytes_elsewhere(tiny: Path, tmp_path: Path, snakemake: Callable) -> None:
    assert artefacts(second(tmp_path, snakemake, 1, 2, "all"), ()) == artefacts(tiny, ())
