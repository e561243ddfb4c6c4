"""The bundle of the tiny run: whole, and whatever is changed in it is found and named."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save

from pipeline.bundle.archive import SUMS, unpack, write_archive
from pipeline.bundle.checks import Bundle, Row
from pipeline.bundle.crate import CRATE, crate
from pipeline.bundle.documents import model_card, readme
from pipeline.bundle.verify import table, verify
from pipeline.models.files import fingerprint
from pipeline.shards.shard_set import ShardSet

pytestmark = pytest.mark.xdist_group("tiny")
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).with_name("data")
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def bundle(tiny: Path) -> Path:
    return tiny / "results" / "tiny" / "bundle.zip"


@pytest.fixture(scope="module")
def found(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """All checks of the untouched bundle."""
    return verify(bundle, tmp_path_factory.mktemp("verify"))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = read(path)
    change(content)
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def forged(bundle: Path, tmp_path: Path, change: Change, documents: bool = True) -> Path:
    """A bundle with a change, in which every digest and document was made anew to match."""
    folder = tmp_path / "open"
    names = [name for name in unpack(bundle, folder) if name not in (SUMS, CRATE)]
    change(folder)
    opened = Bundle(folder, tuple(names))
    if documents:
        metrics = read(folder / "evaluation" / "metrics.json")
        subset = read(folder / "subset" / "manifest.json")
        (folder / "README.md").write_text(readme(opened.stages, metrics, subset))
        for name in opened.models():
            place = folder / "models" / name
            card = model_card(
                name, place / "model.safetensors", read(place / "config.json"), metrics, opened.stages
            )
            (place / "README.md").write_text(card)
    members: dict[str, Path | bytes] = {name: folder / name for name in names}
    text = json.dumps(crate(opened.stages, members), indent=1, sort_keys=True, ensure_ascii=False)
    members[CRATE] = (text + "\n").encode()
    write_archive(tmp_path / "forged.zip", members)
    return tmp_path / "forged.zip"


def failures(path: Path, tmp_path: Path, evaluate: bool = False) -> dict[str, str]:
    """Check -> what it found, of the checks that fail."""
    rows = verify(path, tmp_path / "checked", evaluate=evaluate)
    out: dict[str, str] = {}
    for row in rows:
        if row.status == "FAIL":
            out[row.check] = out.get(row.check, "") + row.detail + "\n"
    return out


# --- what is in it --------------------------------------------------------------------------------------


def test_the_bundle_holds_what_a_reviewer_needs(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        sums = dict(reversed(line.split("  ")) for line in archive.read(SUMS).decode().splitlines())
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        every = b"".join(archive.read(name) for name in names if not name.startswith("source/"))
    assert set(sums) == names - {SUMS}
    stages = ("synthetic", "patches", "visibility", "shards_test", "evaluation_vae_truth", "region", "report")
    assert names >= {
        "README.md", "datasheet.md", "stages.json", "config.json", "inputs.json", "report.html", CRATE,
        "evaluation/metrics.json", "evaluation/metrics.csv", "evaluation/patches.csv", "region/mean.tif",
        "models/bridge_missing/model.safetensors", "models/bridge_missing/calibration.json",
        "models/vae/README.md", "models/vae/metrics.jsonl",
        "subset/manifest.json", "subset/test.zarr.zip", "figures/figure_01.png",
        "source/Snakefile", "source/envs/requirements.txt", "source/src/pipeline/bundle/verify.py",
        "source/src/pipeline/bundle/templates/readme.md", "source/src/pipeline/report/templates/page.html",
        "source/src/pipeline/maps/viewer/templates/viewer.js",
        *(f"records/{name}.json" for name in stages),
    }  # fmt: skip
    assert not [name for name in names if "timing" in name or name.endswith(".pyc")]
    assert str(ROOT).encode() not in every


def test_the_shipped_patches_read_as_those_of_the_run(bundle: Path, tiny: Path, tmp_path: Path) -> None:
    unpack(bundle, tmp_path / "open")
    few = ShardSet(tmp_path / "open" / "subset" / "manifest.json", "test")
    [manifest] = (tiny / "results" / "store" / "manifest_test").rglob("manifest.json")
    whole = ShardSet(manifest, "test")
    assert len(few) == 4
    places = {int(shard.ids[p]): (shard, p) for shard, p in map(whole.at, range(len(whole)))}
    for shard, patch in map(few.at, range(len(few))):
        other, place = places[int(shard.ids[patch])]
        np.testing.assert_array_equal(shard.dem(patch), other.dem(place))
        for group in ("fixed", "fibonacci"):
            np.testing.assert_array_equal(shard.packed(group, patch), other.packed(group, place))
        one, two = shard.draws("main"), other.draws("main")
        kept = one["images"][patch] >= 0
        np.testing.assert_array_equal(one["images"][patch][kept], two["images"][place][: kept.sum()])
        assert (two["images"][place][kept.sum() :] == -1).all()
        np.testing.assert_array_equal(one["strips"][patch][kept], two["strips"][place][: kept.sum()])


@pytest.fixture(scope="session")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment of its own that holds roc-validator."""
    uv, folder = Path(sys.executable).with_name("uv"), tmp_path_factory.mktemp("validator") / "venv"
    if not uv.is_file():
        pytest.skip("uv is not installed (make env)")
    python = folder / "bin" / "python"
    pins = DATA / "crate_validator.txt"
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(pins)],
    ):
        done = subprocess.run([str(uv), *command], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"roc-validator cannot be installed here (network?): {done.stderr.strip()[-200:]}")
    return python


def test_the_metadata_are_a_valid_provenance_run_crate(bundle: Path, validator: Path, tmp_path: Path) -> None:
    unpack(bundle, tmp_path / "open")
    script, context = Path(__file__).with_name("crate_validation.py"), DATA / "crate_context.jsonld"
    call = [str(validator), str(script), str(tmp_path / "open"), str(context), str(tmp_path / "cache")]
    wanted = ["provenance-run-crate-0.5", "required"]
    done = subprocess.run([*call, *wanted], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "is a valid provenance-run-crate-0.5" in done.stdout
    # What the profile only recommends and bundles lack: addresses of tools, which are code in the bundle
    # (3.2, 5.1); times and people, so that equal results give equal bytes (8.4, 8.6); a publisher and an
    # address of the authors (22.3, 31.2), which have none.
    done = subprocess.run([*call, wanted[0], "recommended"], capture_output=True, text=True)
    assert set(re.findall(r"\[ ([\w.-]+_\d+\.\d+) \]", done.stdout)) == {
        *(f"process-run-crate-0.5_{check}" for check in ("3.2", "5.1", "8.4", "8.6")),
        *(f"ro-crate-1.1_{check}" for check in ("22.3", "31.2")),
    }
    # The validator does look: an action without its tool is refused.
    edit(tmp_path / "open" / CRATE, lambda c: [e.pop("instrument", None) for e in c["@graph"]])
    assert subprocess.run([*call, *wanted], capture_output=True).returncode == 1


# --- an honest bundle -----------------------------------------------------------------------------------


def test_an_honest_bundle_passes(found: list[Row]) -> None:
    assert {row.status for row in found} == {"PASS"}, table(found)
    assert {row.check for row in found} == {
        "archive", "files", "config", "records", "code", "plan", "environment", "weights", "patches",
        "metrics", "region", "crate", "documents", "subset", "evaluation",
    }  # fmt: skip
    again = [row.detail for row in found if row.check == "evaluation"]
    assert len(again) == 11  # two bicubics, photometric stereo, two floors and six systems
    assert all(line.endswith("4 patches agree to the last digit") for line in again)


def test_the_command_prints_a_table_and_its_exit_code_says_it(bundle: Path, tmp_path: Path) -> None:
    call = [sys.executable, "-m", "pipeline.bundle.verify", "--quick"]
    done = subprocess.run([*call, str(bundle)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS  metrics" in done.stdout
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() in done.stdout
    (tmp_path / "short.zip").write_bytes(bundle.read_bytes()[:-1000])
    done = subprocess.run([*call, "short.zip"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "FAIL  archive  short.zip: expected a whole zip archive, found a damaged one" in done.stdout
    done = subprocess.run([*call, "none.zip"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "none.zip: expected a bundle, found no file" in done.stderr


# --- tampered bundles -----------------------------------------------------------------------------------


def test_a_changed_file_is_named(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    names = unpack(bundle, folder)
    page = folder / "report.html"
    page.write_text(page.read_text().replace("bridge_missing", "bridge_mussing", 1))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            archive.write(folder / name, name)
    bad = failures(tmp_path / "x.zip", tmp_path)
    assert set(bad) == {"files", "crate"}
    assert bad["files"].startswith("report.html: expected sha256 ")


def test_an_escaping_member_stops_everything(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(bundle.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../escaped.txt", "out")
    [row] = verify(path, tmp_path / "checked")
    assert (row.status, row.check) == ("FAIL", "archive")
    assert "'../escaped.txt'" in row.detail
    assert not list(tmp_path.rglob("escaped.txt"))


def _headline(folder: Path) -> None:
    def better(metrics: dict[str, Any]) -> None:
        for rows in (metrics["systems"], metrics["conditions"]["main"]["systems"]):
            rows["bridge_missing"]["rmse_m"] *= 0.99

    edit(folder / "evaluation" / "metrics.json", better)


def _floor(folder: Path) -> None:
    edit(folder / "evaluation" / "metrics.json", lambda m: m["floors"]["vae_truth"].update(crps_fair_m=1.0))


def _region(folder: Path) -> None:
    edit(folder / "region" / "metrics.json", lambda m: m["region"]["mean"].update(rmse_m=0.5))


def _config(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c["bridge"]["stages"]["missing"].update(samples=99))
    edit(folder / "stages.json", lambda s: s["config"]["bridge"]["stages"]["missing"].update(samples=99))


def _source(folder: Path) -> None:
    path = folder / "source" / "src" / "pipeline" / "models" / "unet.py"
    path.write_text(path.read_text() + "\nEXTRA = 1\n")


def _mark(folder: Path) -> None:
    edit(folder / "models" / "bridge_arcs" / "config.json", lambda c: c.update(fingerprint="0" * 16))


def _pin(folder: Path) -> None:
    path = folder / "source" / "envs" / "requirements.txt"
    path.write_text(path.read_text().replace("\nnumpy==2", "\nnumpy==3"))


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (_headline, "metrics", "evaluation/metrics.json: systems.bridge_missing.rmse_m: claimed"),
        (_floor, "metrics", "floors.vae_truth.crps_fair_m: only claimed"),
        (_region, "region", "region/metrics.json: region.mean.rmse_m: claimed 0.5, found"),
        (_config, "plan", "stage bridge_missing: claimed key"),
        (_source, "plan", "stage bridge_fibonacci: claimed key"),
        (_mark, "weights", "models/bridge_arcs: models/bridge_arcs/config.json says 0000000000000000"),
        (_pin, "environment", "computed with other versions than the pinned ones: numpy"),
    ],
)
def test_a_forged_claim_is_found_though_every_digest_matches(
    bundle: Path, tmp_path: Path, change: Change, check: str, words: str
) -> None:
    bad = failures(forged(bundle, tmp_path, change), tmp_path)
    assert "files" not in bad and "crate" not in bad
    assert words in bad[check]


def test_a_readme_that_says_other_numbers_is_found(bundle: Path, tmp_path: Path) -> None:
    def praise(folder: Path) -> None:
        path = folder / "models" / "bridge_missing" / "README.md"
        path.write_text(path.read_text().replace("Research", "Landing", 1))

    bad = failures(forged(bundle, tmp_path, praise, documents=False), tmp_path)
    assert set(bad) == {"documents"}
    assert "models/bridge_missing/README.md" in bad["documents"]


def test_a_flipped_weight_is_found_by_evaluating_again(bundle: Path, tmp_path: Path) -> None:
    """One value of one tensor; fingerprints, digests and documents all agree with it."""

    def flip(folder: Path) -> None:
        path = folder / "models" / "bridge_missing" / "model.safetensors"
        state = load_file(path)
        name = max(state, key=lambda n: float(state[n].abs().max()) if state[n].ndim == 4 else -1.0)
        flat = state[name].flatten()
        flat[flat.abs().argmax()] *= -1
        mark = fingerprint(state)
        path.write_bytes(save(dict(sorted(state.items())), metadata={"fingerprint": mark}))
        edit(path.with_name("config.json"), lambda c: c.update(fingerprint=mark))
        told = "evaluation/metrics.json"
        edit(folder / told, lambda m: m["models"]["bridge_missing"].update(fingerprint=mark))
        edit(folder / "region" / "metrics.json", lambda m: m.update(model_fingerprint=mark))
        edit(path.with_name("calibration.json"), lambda c: c.update(model=mark))

    bad = failures(forged(bundle, tmp_path, flip), tmp_path, evaluate=True)
    assert set(bad) == {"evaluation"}
    assert "bridge_missing, main: patch " in bad["evaluation"]
    assert "bridge_arcs" not in bad["evaluation"]


def test_better_scores_of_shipped_patches_are_found_by_evaluating_again(bundle: Path, tmp_path: Path) -> None:
    """Every patch's error is made smaller and all pooled numbers follow."""

    def boast(folder: Path) -> None:
        path = folder / "evaluation" / "patches.csv"
        head, *lines = path.read_text().splitlines()
        column = head.split(",").index("mse_m2")
        for number, line in enumerate(lines):
            cells = line.split(",")
            if cells[:2] == ["main", "bicubic"]:
                cells[column] = repr(float(cells[column]) * 1.1)
            lines[number] = ",".join(cells)
        path.write_text("\n".join((head, *lines)) + "\n")

    bad = failures(forged(bundle, tmp_path, boast), tmp_path, evaluate=True)
    assert "bicubic, main: patch " in bad["evaluation"]
    assert "mse_m2 claimed" in bad["evaluation"]
    assert "systems.bicubic.rmse_m" in bad["metrics"]


def test_a_store_with_code_in_it_is_not_read(bundle: Path, tmp_path: Path) -> None:
    def pickled(folder: Path) -> None:
        path = folder / "subset" / "test.zarr.zip"
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        content = json.loads(entries["lon/.zarray"])
        content |= {"dtype": "|O", "filters": [{"id": "pickle"}]}
        entries["lon/.zarray"] = json.dumps(content).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data)

    bad = failures(forged(bundle, tmp_path, pickled), tmp_path, evaluate=True)
    assert "lon/.zarray: expected plain numbers, found type '|O'" in bad["evaluation"]
