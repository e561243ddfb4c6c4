"""The whole stage with a fake system: products, determinism, and independence of the batch."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import rasterio
import torch
from region_terrain import FACTOR, SIZE, FakeSystem, hills, label_patches, make_terrain, write_split

from pipeline.config.bridge import BridgeSampler
from pipeline.config.illumination import IlluminationSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.region import RegionSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.region import RegionStage
from pipeline.illumination.far_blocks import write_far
from pipeline.region import reconstruct as stage
from pipeline.region.ground import read_ground
from pipeline.region.place import Place
from pipeline.region.products import Band, write_geotiff
from pipeline.region.reconstruct import collate, prepare, reconstruct, reconstruct_windows
from pipeline.region.render import render
from pipeline.region.scores import std_scores
from pipeline.region.source import WindowImages
from pipeline.region.windows import Window
from pipeline.storage.atomic import write_json
from pipeline.terrain.readers import open_raster

NAMES = {n: f"{n}.tif" for n in ("mean", "std", "prior", "truth", "images", "clones")}
NAMES |= {"metrics": "metrics.json", "quicklook": "quicklook.png"}
SAMPLER = BridgeSampler(nfe=7)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    terrain = make_terrain(folder, a=hills(192, 192))
    split = write_split(folder, label_patches(terrain, [(0, 2, 2), (0, 2, 3), (0, 4, 4)]))
    write_json(folder / "config.json", {"schema": "model/1", "kind": "bridge", "fingerprint": "0123abcd"})
    model = folder / "model.safetensors"
    return {"terrain": str(folder / "terrain.json"), "split": str(split), "model": str(model), "vae": []}


def section_of(illumination=None, **region):
    keys = {"size_px": 96, "stride_px": 24, "images": 10, "half_width_px": 40.0, "blend_px": 16, "seed": 5}
    return RegionStage(
        region=RegionSection(**{**keys, **region}),
        photometry=PhotometrySection(),
        illumination=illumination or IlluminationSection(),
        tolerance=0.1,
        factor=FACTOR,
        size_px=SIZE,
        stride_px=SIZE,
        sampler=SAMPLER,
        cpu_threads=1,
    )


def run(folder, inputs, monkeypatch, section=None, leave=()):
    monkeypatch.setattr(stage, "load_calibrated", lambda *a: FakeSystem())
    outputs = {k: str(folder / v) for k, v in NAMES.items() if k not in leave}
    runtime = RuntimeSection(device="cpu")
    reconstruct(section or section_of(), inputs, runtime, outputs, key="fedcba987654")
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory, inputs):
    with pytest.MonkeyPatch.context() as patch:
        return run(tmp_path_factory.mktemp("out"), inputs, patch)


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def test_geotiffs_say_where_and_what_they_are(done, inputs):
    for name in ("mean", "std", "prior", "truth", "images", "clones"):
        with rasterio.open(done / f"{name}.tif") as file:
            assert file.crs.to_dict()["proj"] == "stere"
            assert file.crs.to_dict()["R"] == 1737400
            assert tuple(file.transform)[:6] == (20.0, 0.0, 1000 + 64 * 20.0, 0.0, -20.0, 2000 - 64 * 20.0)
            assert (file.width, file.height) == (96, 96)
            assert set(file.dtypes) == {"float32"}
            assert np.isnan(file.nodata)
            assert file.tags()["AREA_OR_POINT"] == "Area"
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert set(file.units) == {"1" if name == "images" else "m"}
            assert all(file.descriptions)
            tags = file.tags()
            assert tags["TIFFTAG_SOFTWARE"].startswith("lunar-bridge ")
            assert "TIFFTAG_DATETIME" not in tags
            wanted = {"MODEL_FINGERPRINT": "0123abcd", "STAGE_KEY": "fedcba987654", "MEMBERS": "4"}
            assert wanted.items() <= tags.items()
            assert (tags["NFE"], tags["FACTOR"]) == ("7", str(FACTOR))


def test_the_pipeline_reads_its_own_products(done):
    raster = open_raster(done / "mean.tif")
    np.testing.assert_array_equal(raster.read(0, 96, 0, 96), read(done / "mean.tif")[0])


def test_products_agree_with_each_other(done, inputs):
    truth, mean, prior = (read(done / f"{n}.tif")[0] for n in ("truth", "mean", "prior"))
    np.testing.assert_array_equal(truth, hills(192, 192)[64:160, 64:160])
    clones = read(done / "clones.tif")
    np.testing.assert_allclose(clones.mean(axis=0), mean, atol=1e-3)
    # The clones are the a priori DEM plus noise of 3 m, averaged where windows overlap.
    assert 0.3 < (mean - prior).std() < 3 / np.sqrt(4)
    assert abs((mean - prior).mean()) < 0.1
    std = read(done / "std.tif")[0]
    assert 2.5 < std.mean() < 3.5


def test_images_tell_their_suns(done):
    with rasterio.open(done / "images.tif") as file:
        assert file.count == 8
        values = file.read()
        assert all("Sun azimuth" in text and "elevation" in text for text in file.descriptions)
        assert {float(file.tags(i)["SUN_ELEVATION_DEG"]) for i in file.indexes} <= {5.0, 10.0}
    assert np.isnan(values).any()
    assert np.nanmin(values) >= 0
    assert np.nanmax(values) < 1


def test_metrics(done):
    metrics = json.loads((done / "metrics.json").read_text())
    truth, mean, prior, std = (
        read(done / f"{n}.tif")[0].astype(float) for n in ("truth", "mean", "prior", "std")
    )
    rmse = np.sqrt(np.mean((mean - truth) ** 2))
    assert metrics["region"]["mean"]["rmse_m"] == pytest.approx(rmse, rel=1e-5)
    bicubic = np.sqrt(np.mean((prior - truth) ** 2))
    assert metrics["region"]["bicubic"]["rmse_m"] == pytest.approx(bicubic, rel=1e-5)
    assert metrics["std"]["within_2_std"] == pytest.approx(np.mean(np.abs(mean - truth) <= 2 * std), abs=1e-3)
    assert metrics["std"]["spread_skill"] == pytest.approx(
        np.sqrt(5 / 4) * np.sqrt(np.mean(std**2)) / rmse, rel=1e-4
    )
    # 96 / 24: starts 0, 24, 48, 64 a side.
    assert metrics["windows"] == {"count": 16, "size_px": 32, "stride_px": 24}
    assert metrics["place"]["row"] == metrics["place"]["col"] == 64
    assert metrics["place"]["center_m"] == [1000 + 112 * 20.0, 2000 - 112 * 20.0]
    assert metrics["test_patches"]["test"] == 3
    assert metrics["test_patches"]["train"] == 6
    assert metrics["test_patches"]["scores"]["mean"]["n_patches"] == 3
    assert metrics["images"]["per_window"]["most"] <= metrics["images"]["count"] == 10


def test_a_second_run_gives_the_same_bytes(done, tmp_path, inputs, monkeypatch):
    again = run(tmp_path, inputs, monkeypatch)
    for name in NAMES.values():
        first, second = ((f / name).read_bytes() for f in (done, again))
        assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest(), name
    assert sorted(p.name for p in again.iterdir()) == sorted(NAMES.values())  # nothing else is left behind


def test_clones_are_written_only_when_asked_for(done, tmp_path, inputs, monkeypatch):
    lean = run(tmp_path, inputs, monkeypatch, leave=("clones",))
    assert not (lean / "clones.tif").exists()
    assert (lean / "mean.tif").read_bytes() == (done / "mean.tif").read_bytes()


def test_windows_do_not_depend_on_the_batch(inputs):
    terrain = stage.load_terrain(inputs["terrain"])
    apriori, ground = read_ground(terrain, Place(0, 40, 48, 80), FACTOR, 1)
    section = RegionSection(size_px=80, stride_px=16, images=6, members=3, blend_px=16, half_width_px=20.0)
    images = render(ground, section, IlluminationSection(), 0.1, PhotometrySection())
    results = []
    for batch in (1, 4, 16):
        mosaic, coverage = reconstruct_windows(FakeSystem(), apriori, images, section, SAMPLER, batch=batch)
        results.append((mosaic.mean(), mosaic.std(), coverage.per_window))
    for mean, std, seen in results[1:]:
        np.testing.assert_array_equal(mean, results[0][0])
        np.testing.assert_array_equal(std, results[0][1])
        assert seen == results[0][2]


class TwoImages:
    """Images by hand: none in the left half of the region."""

    count = 2

    def read(self, row0, row1, col0, col1, only=None):
        shape = (0 if col0 < 32 else 2, row1 - row0, col1 - col0)
        sun = torch.tensor([[0.0, 0.6, 0.8]]).expand(shape[0], 3)
        return WindowImages(torch.full(shape, 0.2), torch.ones(shape, dtype=torch.bool), sun)


def test_batches_are_what_the_networks_expect(inputs):
    terrain = stage.load_terrain(inputs["terrain"])
    apriori, _ = read_ground(terrain, Place(0, 40, 48, 80), FACTOR, 3)
    patches = [prepare(apriori, TwoImages(), Window(16, col, SIZE), 2) for col in (0, 40)]
    batch = collate(patches, 20.0)
    assert batch.dem is None
    assert batch.lr.shape == (2, SIZE // FACTOR + 4, SIZE // FACTOR + 4)
    assert batch.images.shape == batch.valid.shape == (2, 2, SIZE, SIZE)
    assert batch.present.tolist() == [[False, False], [True, True]]
    assert not batch.images[0].any()
    torch.testing.assert_close(batch.lr[:, 2:-2, 2:-2].mean(dim=(1, 2)), torch.zeros(2), atol=1e-3, rtol=0)
    heights = batch.prior[1] + batch.reference[1]
    np.testing.assert_allclose(heights, apriori.prior[16:48, 40:72], atol=1e-3)


def test_a_region_without_any_image_is_still_reconstructed(inputs):
    terrain = stage.load_terrain(inputs["terrain"])
    apriori, _ = read_ground(terrain, Place(0, 40, 48, 32), FACTOR, 1)
    section = RegionSection(size_px=32, stride_px=16, members=2)
    mosaic, coverage = reconstruct_windows(FakeSystem(), apriori, TwoImages(), section, SAMPLER)
    assert coverage.per_window == [0]
    assert np.isfinite(mosaic.mean()).all()


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"stride_px": 20}, r"region\.stride_px: expected a multiple of patches\.factor = 8"),
        ({"size_px": 100}, r"region\.size_px: expected a multiple of patches\.factor = 8"),
        ({"size_px": 400}, r"region\.size_px: expected a square of 400 px .* the largest there has 192 px"),
    ],
)
def test_mistakes_are_named(region, message, inputs, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, inputs, monkeypatch, section_of(**region))
    assert not list(tmp_path.iterdir())


def test_the_track_and_the_far_terrain_light_the_region(done, tmp_path, inputs, monkeypatch):
    """The stage reads both where the config asks for them, and says what is not there before it works."""
    far, track = tmp_path / "far.zarr.zip", tmp_path / "track.json"
    write_far(inputs["terrain"], 8, far)
    # The Sun stands over the far side of the pole.
    table = {"lon": [200.0], "lat": [-1.5], "distance_km": [1.5e8]}
    write_json(track, {"schema": "suntrack/1", "frame": "IAU_MOON", "utc": ["2010-01-01"], **table})
    illumination = IlluminationSection(halo_px=16, far_m=3000, far_cell_px=8)
    section = section_of(illumination, light={"place": "ephemeris"})
    given = {"track": [str(track)], "far": [str(far)]}
    for missing, message in (("far", r"illumination\.far_m = 3000: expected"), ("track", "place: ephemeris")):
        with pytest.raises(ValueError, match=message):
            run(tmp_path, {**inputs, **given, missing: []}, monkeypatch, section)
    assert not (tmp_path / "mean.tif").exists()
    lit = run(tmp_path, {**inputs, **given}, monkeypatch, section)
    with rasterio.open(lit / "images.tif") as file:
        azimuth = {float(file.tags(i)["SUN_AZIMUTH_DEG"]) for i in file.indexes}
    # Longitude 200 degrees lies at map azimuth 200 degrees from the pole.
    assert azimuth <= {195.0, 200.0, 205.0}


def test_a_model_for_other_patches_is_refused(inputs, tmp_path, monkeypatch):
    section = section_of().model_copy(update={"size_px": 64, "stride_px": 64})
    with pytest.raises(ValueError, match=r"model\.safetensors: expected a model for patches of 64 px"):
        run(tmp_path, inputs, monkeypatch, section)


def test_geotiffs_with_overviews_and_missing_pixels(tmp_path, inputs):
    grid = stage.load_terrain(inputs["terrain"]).sites[0].grid.window(-3, 5, 600, 600)
    values = np.arange(360000, dtype=np.float64).reshape(600, 600)
    values[0, 0] = np.nan
    for name in ("a.tif", "b.tif"):
        write_geotiff(tmp_path / name, grid, [Band(values, "heights", "m")], {"X": "1"})
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.overviews(1) == [2, 4]
        assert file.block_shapes == [(256, 256)]
        np.testing.assert_array_equal(file.read(1), values.astype(np.float32))
        assert file.dataset_mask()[0, 0] == 0
        assert file.dataset_mask()[0, 1] == 255
    with pytest.raises(ValueError, match="expected bands of 600 x 600 px"):
        write_geotiff(tmp_path / "c.tif", grid, [Band(values[1:], "heights", "m")], {})


def test_std_scores_of_a_reliable_error_bar():
    rng = np.random.default_rng(0)
    std = rng.uniform(1, 5, (300, 300))
    scores = std_scores(rng.normal(size=std.shape) * std, std, np.zeros_like(std), members=1000)
    assert scores["spread_skill"] == pytest.approx(1, abs=0.02)
    assert scores["within_1_std"] == pytest.approx(0.683, abs=0.01)
    assert scores["within_2_std"] == pytest.approx(0.954, abs=0.01)
    assert scores["error_correlation"] > 0.3
    exact = std_scores(np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 4)), members=4)
    assert exact["spread_skill"] == 0
    assert exact["within_2_std"] == 1
