"""A change reruns exactly the stages that depend on it, and nothing else: on a finished run, by Snakemake."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("tiny")

LAST = {"evaluation_collect": 1, "report_write": 1, "bundle_write": 1, "run_record": 1}


def trained(*stages: str, systems: tuple[str, ...] = ("published", "bridge")) -> dict[str, int]:
    """Trainings of the given stages, calibrations of those that have one, and their evaluations."""
    models = [f"{system}_{stage}" for system in systems for stage in stages]
    jobs = {f"{rule}_{model}": 1 for rule in ("bridge_train", "evaluation") for model in models}
    return jobs | {f"calibration_{model}": 1 for model in models if model.startswith("bridge")}


LIGHT = {
    "illumination_trace": 2,
    "arcs_select": 2,
    "masks_draw": 2,
    "shards_write": 2,
    "shards_write_test": 2,
}
MANIFESTS = {"shards_manifest": 1, "shards_manifest_test": 1}
PLAIN = {
    f"evaluation_{name}": 1
    for name in ("bicubic", "bicubic_window", "photometric", "vae_truth", "vae_bicubic")
}
EVALUATIONS = {k: 1 for k in trained("fibonacci", "arcs", "missing") if k.startswith("evaluation_")}
CHANGES = {
    "runtime: {log_level: DEBUG, workers: 2, checkpoint_minutes: 1, keep_intermediates: false}": {},
    "report: {patches: 1}": {"report_write": 1, "bundle_write": 1, "run_record": 1},
    "arcs: {train: {latitude: [70, 80]}}": trained("arcs", "missing") | {"region_reconstruct": 1} | LAST,
    "bridge: {stages: {missing: {samples: 24}}}": (
        trained("missing", systems=("bridge",)) | {"region_reconstruct": 1} | LAST
    ),
    "illumination: {jitter_deg: 2}": (
        LIGHT | MANIFESTS | PLAIN | {"vae_train": 1, "region_reconstruct": 1} | LAST
        | trained("fibonacci", "arcs", "missing")
    ),
    # Two configs share what they have in common: the light and the published system here.
    "run: second\nbridge: {stages: {missing: {samples: 24}}}": (
        EVALUATIONS | PLAIN | trained("missing", systems=("bridge",)) | {"region_reconstruct": 1} | LAST
    ),
    "run: second": EVALUATIONS | PLAIN | {"region_reconstruct": 1} | LAST,
}  # fmt: skip


def planned(snakemake: Callable, tiny: Path, tmp_path: Path, overlay: str = "") -> dict[str, int]:
    """What a dry run of `all` would do."""
    (tmp_path / "overlay.yaml").write_text(overlay or "{}")
    done = snakemake(tiny, "-n", "all", "--configfile", "config/tiny.yaml", str(tmp_path / "overlay.yaml"))
    assert done.returncode == 0, done.text[-3000:]
    return {rule: count for rule, count in done.jobs.items() if rule not in ("all", "total")}


@pytest.mark.parametrize("overlay", CHANGES)
def test_a_change_reruns_what_depends_on_it(
    overlay: str, snakemake: Callable, tiny: Path, tmp_path: Path
) -> None:
    assert planned(snakemake, tiny, tmp_path, overlay) == CHANGES[overlay]


def test_why_tells_what_a_change_would_do(snakemake: Callable, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "overlay.yaml").write_text("bridge: {stages: {missing: {samples: 24}}}")
    overlay = ("--configfile", "config/tiny.yaml", str(tmp_path / "overlay.yaml"))
    done = snakemake(tiny, "-c1", "why", *overlay)
    assert done.returncode == 0, done.text[-3000:]
    for line in (
        "config bridge.stages.missing.samples: 16 -> 24",
        "bridge_missing: runs, as its settings changed (optimiser.samples: 16 -> 24)",
        "calibration_bridge_missing: runs, as it follows bridge_missing",
    ):
        assert line in done.text.splitlines()
    assert "vae:" not in done.text
    done = snakemake(tiny, "-c1", "why", "--configfile", "config/tiny.yaml")
    assert "Nothing has changed since the last run: every stage keeps its results." in done.text


def test_going_back_to_an_old_value_finds_its_results(
    snakemake: Callable, tiny: Path, tmp_path: Path
) -> None:
    """A new value is worked on up to the split; then the old one needs nothing, and the new no more."""
    for name in ("results", ".snakemake"):
        shutil.copytree(tiny / name, tmp_path / name, symlinks=True)
    shutil.copytree(tiny / "config", tmp_path / "config")
    overlay = tmp_path / "overlay.yaml"

    def call(text: str, *arguments: str) -> Any:
        overlay.write_text(text)
        done = snakemake(tmp_path, *arguments, "--configfile", "config/tiny.yaml", "overlay.yaml")
        assert done.returncode == 0, done.text[-3000:]
        return done

    new, old = "split: {seed: 1}", "split: {seed: 0}"
    found = call(new, "-c1", "patches")
    assert found.jobs == {"patches_split": 1, "patches": 1, "total": 2}
    assert call(old, "-n", "all").jobs == {}
    assert call(new, "-n", "patches").jobs.get("patches_split") is None
    told = call(new, "-c1", "why").text
    assert "config split.seed: 0 -> 1" in told.splitlines()
    assert re.search(
        r"^split: is found again in results/store/split/[0-9a-f]{12}, as its settings", told, re.M
    )
    folders = list((tmp_path / "results" / "store" / "split").iterdir())
    assert len(folders) == 2


def test_times_of_files_mean_nothing(snakemake: Callable, tiny: Path, tmp_path: Path) -> None:
    """Neither touched sources nor a copied folder start any work."""
    for number, path in enumerate(sorted((tiny / "results" / "store").rglob("*"))):
        if path.is_file():
            os.utime(path, (1e9 + 1e6 * (number % 7), 1e9 + 1e6 * (number % 7)))
    assert planned(snakemake, tiny, tmp_path) == {}


@contextmanager
def without(paths: list[Path]) -> Iterator[None]:
    """Files that are away for a while."""
    assert paths
    away = [path.with_name(f"{path.name}.away") for path in paths]
    for path, place in zip(paths, away):
        path.rename(place)
    try:
        yield
    finally:
        for path, place in zip(paths, away):
            place.rename(path)


def test_light_that_was_not_kept_is_traced_again_but_retrains_nothing(
    snakemake: Callable, tiny: Path, tmp_path: Path
) -> None:
    """Visibility is temporary; new test draws need it once more, the trained models do not."""
    light = list((tiny / "results" / "store" / "visibility").rglob("*.zarr.zip"))
    overlay = "arcs: {seed: 1}"
    shown = {"report_write": 1, "bundle_write": 1, "run_record": 1}
    tests = {"arcs_select": 2, "masks_draw": 2, "shards_write_test": 2, "shards_manifest_test": 1}
    wanted = tests | EVALUATIONS | PLAIN | {"evaluation_collect": 1} | shown
    assert planned(snakemake, tiny, tmp_path, overlay) == wanted
    with without(light):
        assert planned(snakemake, tiny, tmp_path) == {}
        again = wanted | {"illumination_trace": 2, "shards_write": 2}
        assert planned(snakemake, tiny, tmp_path, overlay) == again


@pytest.mark.parametrize(
    ("lost", "made"),
    [
        ("region/mean.tif", {"region_reconstruct": 1, "report_write": 1, "bundle_write": 1}),
        ("report.html", {"report_write": 1, "bundle_write": 1}),
    ],
)
def test_a_lost_result_is_made_again(
    snakemake: Callable, tiny: Path, tmp_path: Path, lost: str, made: dict[str, int]
) -> None:
    with without([tiny / "results" / "tiny" / lost]):
        assert planned(snakemake, tiny, tmp_path) == made


def test_a_stage_that_cannot_work_says_why_in_one_line(
    snakemake: Callable, tiny: Path, tmp_path: Path
) -> None:
    for name in ("results", ".snakemake", "config"):
        shutil.copytree(tiny / name, tmp_path / name, symlinks=True)
    (tmp_path / "overlay.yaml").write_text("coverage: {min_share: 1.0}")
    done = snakemake(tmp_path, "-c1", "patches", "--configfile", "config/tiny.yaml", "overlay.yaml")
    assert done.returncode != 0
    assert "ERROR split: expected patches to split, found none kept; lower coverage.min_share" in done.text
    assert "Traceback" not in done.text
    assert done.jobs == {"patches_select": 2, "patches_split": 1, "patches": 1, "total": 4}
