"""A map of a user's site by config/map.yaml: a coarse DEM with a hole, images in another projection, Suns."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rio_cogeo import cog_validate
from stac_files import stac_errors

from forked import Forks
from map_sites import CELLS, FACTOR, grid, write_site
from pipeline.imagery.suns.tables import read_suns
from pipeline.maps.asp import export_asp
from saved_models import save_system

pytestmark = pytest.mark.xdist_group("map")
ROOT = Path(__file__).resolve().parents[2]
SMALL = f"""\
patches: {{size_px: 32, factor: {FACTOR}, halo_px: 16, stride_px: 32}}
training: {{cpu_threads: 1}}
images: {{light_m: 1000, check_from: 6, withhold_least: 2}}
map: {{members: 3, stride_px: 16, clones: true}}
runtime: {{device: cpu, workers: 1}}
"""
FILES = {
    *(f"{n}.tif" for n in ("mean", "std", "prior", "lit", "azimuth_gap", "class", "slope", "slope_std")),
    *("steep.tif", "hillshade.tif", "clones.tif", "images.csv", "map.json"),
    *("quicklook.png", "viewer.html", "stac.json"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the shipped configs, a site and small weights."""
    folder = tmp_path_factory.mktemp("map")
    (folder / "config").symlink_to(ROOT / "config")
    (folder / "small.yaml").write_text(SMALL)
    write_site(folder)
    save_system(folder / "weights", size_px=32, factor=FACTOR, noise=0.002)
    return folder


def given(run: str, *more: str) -> tuple[str, ...]:
    """The configuration of a map of the site."""
    site = 'site={"dem": "ldem.tif", "images": "nac/*.tif", "suns": "index.csv", "pixel_m": 40}'
    weights = 'pretrained={"weights": "weights"}'
    return ("--configfile", "config/map.yaml", "small.yaml", "--config", f"run={run}", site, weights, *more)


def made(snakemake: Callable, folder: Path, run: str, *more: str, cores: int = 2) -> Any:
    return snakemake(folder, f"-c{cores}", "map", *given(run, *more))


@pytest.fixture(scope="module")
def done(site: Path, snakemake: Callable) -> Path:
    """Folder of the products of a map in one tile."""
    run = made(snakemake, site, "one")
    assert run.returncode == 0, run.text[-5000:]
    return site / "results" / "one" / "map"


def values(path: Path) -> NDArray[np.float64]:
    with rasterio.open(path) as raster:
        return raster.read(1).astype(np.float64)


def test_all_products_are_there_and_lie_where_the_dem_lies(done: Path) -> None:
    assert {path.name for path in done.iterdir()} >= FILES
    # `make prune` keeps what this record names.
    stages = json.loads((done.parent / "stages.json").read_text())["stages"]
    assert {"map_site", "map_clones", "map_check"} <= set(stages)
    for name in (name for name in FILES if name.endswith(".tif")):
        with rasterio.open(done / name) as raster:
            assert raster.shape == (CELLS * FACTOR,) * 2
            assert raster.transform.almost_equals(grid().transform)
            assert raster.crs == CRS.from_wkt(grid().crs_wkt)
            assert raster.count == (3 if name == "clones.tif" else 1)


def test_the_mean_has_a_value_where_the_dem_has_one_and_keeps_its_cells(done: Path) -> None:
    mean, std = values(done / "mean.tif"), values(done / "std.tif")
    cells = values(done.parents[2] / "ldem.tif")
    known = np.isfinite(cells)
    whole = known.repeat(FACTOR, axis=0).repeat(FACTOR, axis=1)
    assert np.array_equal(np.isfinite(mean), whole) and np.array_equal(np.isfinite(std), whole)
    assert (values(done / "class.tif") == 0).sum() == (~whole).sum()
    blocks = mean.reshape(CELLS, FACTOR, CELLS, FACTOR).mean(axis=(1, 3))
    # Where the map is the reconstruction; the a priori DEM of fallen back blocks is a bicubic.
    ours = (values(done / "class.tif") != 3).reshape(CELLS, FACTOR, CELLS, FACTOR).all(axis=(1, 3)) & known
    tapered = np.abs(blocks - cells) > 5e-3
    assert not (tapered & ours).mean() > 0.1


def test_std_is_that_of_whole_map_clones(done: Path) -> None:
    with rasterio.open(done / "clones.tif") as raster:
        clones = raster.read().astype(np.float64)
    known = np.isfinite(values(done / "std.tif"))
    np.testing.assert_allclose(clones.std(axis=0, ddof=1)[known], values(done / "std.tif")[known], atol=2e-3)
    np.testing.assert_allclose(clones.mean(axis=0)[known], values(done / "mean.tif")[known], atol=2e-3)


def test_the_table_says_what_became_of_every_image(done: Path) -> None:
    with (done / "images.csv").open(newline="") as stream:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(stream)}
    assert len(rows) == 9
    assert rows["broken.tif"]["used"] == "no" and "GDAL" in rows["broken.tif"]["why"]
    whole = [row for name, row in rows.items() if name != "broken.tif"]
    assert sum(row["used"] == "yes" for row in whole) >= 6
    assert sum(row["withheld"] == "yes" for row in whole) == 2
    dark = [float(row["exposure"]) for row in whole if row["exposure"]]
    # The images were scaled by 0.05; their law is the renderer's.
    assert np.median(dark) == pytest.approx(0.05, rel=0.15)


def test_the_record_says_how_it_came_about(done: Path) -> None:
    facts = json.loads((done / "map.json").read_text())
    assert (facts["schema"], facts["dem"]["kind"], facts["dem"]["exact_cells"]) == ("map/1", "coarse", True)
    assert (facts["images"]["given"], facts["images"]["withheld"]) == (9, 2)
    assert facts["check"]["images_withheld"] == 2 and "withheld images" in facts["check"]["verdict"]


def test_other_programs_take_the_products(done: Path, tmp_path: Path) -> None:
    """Every GeoTIFF is cloud-optimised and says where it comes from; the STAC item is valid."""
    facts = json.loads((done / "map.json").read_text())
    assert facts["place"]["crs_code"] == "IAU_2015:30135"
    for path in done.glob("*.tif"):
        assert cog_validate(path, strict=True) == (True, [], []), path.name
        with rasterio.open(path) as raster:
            tags = raster.tags()
        assert (tags["MODEL_FINGERPRINT"], tags["STAGE_KEY"]) == (facts["model_fingerprint"], facts["key"])
        assert tags["CITATION"].startswith("Repasky et al. 2026") and tags["IAU_CODE"] == "IAU_2015:30135"
    item = json.loads((done / "stac.json").read_text())
    assert stac_errors(item) == []
    assert {asset["href"] for asset in item["assets"].values()} == {
        f"./{path.name}" for path in done.iterdir() if path.name != "stac.json"
    }
    assert item["properties"]["proj:code"] == "IAU_2015:30135"
    exported = export_asp(done.parent, tmp_path)
    with (done / "images.csv").open(newline="") as stream:
        used = [row for row in csv.DictReader(stream) if row["used"] == "yes"]
    assert (tmp_path / "images.txt").read_text().splitlines() == [row["file"] for row in used]
    assert exported.images == len(used) and exported.holes == (~np.isfinite(values(done / "mean.tif"))).sum()
    suns = read_suns(tmp_path / "sun_positions.txt")
    for row in used:
        place = float(row["sub_solar_lon_deg"]), float(row["sub_solar_lat_deg"])
        assert suns.find(row["file"]).subsolar == pytest.approx(place, abs=1e-6)


def test_tiles_and_cores_do_not_change_a_byte(done: Path, site: Path, snakemake: Callable) -> None:
    run = made(snakemake, site, "many", 'map={"tile_px": 80}', 'images={"per_job": 5}', cores=1)
    assert run.returncode == 0, run.text[-5000:]
    other = site / "results" / "many" / "map"
    for name in FILES - {"map.json", "viewer.html", "stac.json"}:
        first, second = values_and_bytes(done / name), values_and_bytes(other / name)
        assert first == second, name


def values_and_bytes(path: Path) -> str:
    """Digest of a product's values: tags name the stage's key, which a tile's size is part of."""
    if path.suffix != ".tif":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with rasterio.open(path) as raster:
        return hashlib.sha256(raster.read().tobytes()).hexdigest()


def test_snakemakes_report_holds_viewer_picture_and_table(
    done: Path, site: Path, tmp_path: Path, forks: Forks
) -> None:
    archive = tmp_path / "report.zip"
    words = ["snakemake", "-s", str(ROOT / "workflow" / "Snakefile"), "map", "--report", str(archive)]
    code, text = forks(site, [*words, *given("one")])
    assert code == 0, text[-3000:]
    with zipfile.ZipFile(archive) as report:
        data = {Path(name).name: report.read(name) for name in report.namelist() if "/data/raw/" in name}
    assert data == {
        name: (done / name).read_bytes() for name in ("viewer.html", "quicklook.png", "images.csv")
    }


def test_a_dry_run_lists_images_bounds_memory_and_time(site: Path, snakemake: Callable) -> None:
    run = made(snakemake, site, "plan", "--dry-run")
    assert run.returncode == 0, run.text[-3000:]
    assert "9 given" in run.text and "refused   nac/broken.tif" in run.text
    assert "bounds:" in run.text and "memory" in run.text and "min on 2 cores" in run.text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"dem": "lost.tif"}', "site.dem: expected a file, found no file 'lost.tif'"),
        (
            '{"dem": "ldem.tif", "images": "lost/*.tif"}',
            "site.images: expected files, found no file 'lost/*.tif'",
        ),
        (
            '{"dem": "ldem.tif", "center_m": [0, 0], "size_px": 64}',
            "site.center_m: expected a place on the DEM",
        ),
        (
            '{"dem": "ldem.tif", "size_px": 64}',
            "center_m: expected a value, since size_px is given, found null",
        ),
        ('{"dem": "small.yaml"}', "small.yaml: expected a whole raster file"),
        ('{"dem": null}', "site.dem: expected the path of a DEM, found null"),
        ('{"dem": "ldem.tif", "pixels": 3}', "site.pixels: unknown key"),
    ],
)
def test_what_cannot_be_mapped_is_refused_in_one_line_before_any_work(
    site: Path, snakemake: Callable, given: str, said: str
) -> None:
    words = ("--configfile", "config/map.yaml", "small.yaml", "--config", "run=wrong", f"site={given}")
    run = snakemake(site, "-n", "map", *words, 'pretrained={"weights": "weights"}')
    assert run.returncode != 0
    assert said in run.text, run.text[-2000:]
    assert not (site / "results" / "wrong").exists()
