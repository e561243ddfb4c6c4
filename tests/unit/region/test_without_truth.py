"""A region from images in memory, without true terrain: from arrays to products, report and verifier."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import torch
from region_terrain import FACTOR, SIZE, FakeSystem, hills, make_terrain

from pipeline.bundle.checks import Bundle
from pipeline.bundle.numbers import check_region
from pipeline.config.bridge import BridgeSampler
from pipeline.config.photometry import PhotometrySection, law_module
from pipeline.config.region import RegionSection
from pipeline.config.report import ReportSection
from pipeline.config.root import load_config
from pipeline.config.stages.region import RegionStage
from pipeline.provenance.digest import code_digest
from pipeline.provenance.plan import Plan
from pipeline.region.arrays import ArrayImages
from pipeline.region.ground import apriori_dem, read_ground
from pipeline.region.outputs import write_outputs
from pipeline.region.place import Place
from pipeline.region.reconstruct import reconstruct_region
from pipeline.region.reconstruction import Origin
from pipeline.region.source import SOURCES, open_images
from pipeline.report.data import Region, ReportData
from pipeline.report.tables import region_part
from pipeline.storage.atomic import read_json, write_json

SIDE, COUNT = 64, 5
SECTION = RegionSection(size_px=SIDE, stride_px=16, members=4, blend_px=16, seed=5)
MAPS = ("mean", "std", "prior", "truth", "images", "clones")


class LitSystem(FakeSystem):
    """Clones that the images and their Suns raise, so that what is read shows in the result."""

    def sample(self, batch, members, generators, sampler):
        lift = (batch.images * batch.sun[..., 2, None, None]).sum(dim=1)
        return super().sample(batch, members, generators, sampler) + lift[:, None]


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A priori DEM and truth of a region of 64 x 64 px."""
    terrain = make_terrain(tmp_path_factory.mktemp("terrain"), a=hills(128, 128))
    return read_ground(terrain, Place(0, 32, 32, SIDE), FACTOR, 1)


def arrays(seed=0):
    """Images (5, S, S) with data in the right part only, their Suns, and where they have data."""
    rng = np.random.default_rng(seed)
    valid = np.ones((COUNT, SIDE, SIDE), dtype=bool)
    valid[:, :, :20] = False
    images = rng.uniform(0.1, 0.3, valid.shape).astype(np.float32)
    elevation = np.radians(np.linspace(5, 25, COUNT))
    suns = np.stack([np.cos(elevation), np.zeros(COUNT), np.sin(elevation)], axis=1)
    return np.where(valid, images, np.nan), suns, valid


def outputs_of(folder):
    return {n: str(folder / f"{n}.tif") for n in MAPS} | {
        "metrics": str(folder / "metrics.json"),
        "quicklook": str(folder / "quicklook.png"),
    }


def run(folder, ground, truth=None, origin=None):
    """Products of the region below `folder`/region."""
    images, suns, _ = arrays()
    done = reconstruct_region(
        LitSystem(), ground[0], ArrayImages(images, suns), SECTION, BridgeSampler(nfe=7), truth, origin
    )
    write_outputs(outputs_of(folder / "region"), done)
    return folder


@pytest.fixture(scope="module")
def blind(tmp_path_factory, ground):
    return run(tmp_path_factory.mktemp("blind"), ground)


@pytest.fixture(scope="module")
def judged(tmp_path_factory, ground):
    folder = tmp_path_factory.mktemp("judged")
    config = load_config({"inputs": {"dem": "synthetic"}, "region": {"seed": SECTION.seed}})
    write_json(folder / "config.json", config.model_dump(mode="json"))
    corners = {"test": np.array([[0, 0], [32, 32]]), "train": np.array([[32, 0]])}
    return run(folder, ground, ground[1].truth, Origin("a", ground[1].place, "0123abcd", "key", corners))


def bundle(folder):
    names = tuple(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return Bundle(folder, names)


def read(folder, name):
    with rasterio.open(folder / "region" / f"{name}.tif") as file:
        return file.read()


def test_products_hold_what_can_be_told(blind, judged):
    there = {p.name for p in (blind / "region").iterdir()}
    assert there == {p.name for p in (judged / "region").iterdir()} - {"truth.tif"}
    metrics, full = (read_json(f / "region" / "metrics.json", "region/1") for f in (blind, judged))
    assert set(full) - set(metrics) == {"region", "test_patches"}
    assert set(metrics["std"]) == {"rms_m"}
    assert metrics["std"]["rms_m"] == full["std"]["rms_m"] > 0
    assert set(full["place"]) - set(metrics["place"]) == {"site", "row", "col"}
    assert metrics["place"]["lat"] == full["place"]["lat"] < -80
    assert metrics["images"] == full["images"]
    # Columns 20 and more have data: no window lies wholly without.
    assert metrics["images"]["windows_without"] == 0
    assert metrics["images"]["pixels_without_share"] == 20 / 64
    assert full["test_patches"]["scores"]["mean"]["n_patches"] == full["test_patches"]["test"] == 2
    # The truth is for scores only.
    for name in ("mean", "std", "clones", "images", "prior"):
        np.testing.assert_array_equal(read(blind, name), read(judged, name))


def test_the_images_reach_the_result(blind):
    change = (read(blind, "mean") - read(blind, "prior"))[0]
    assert abs(change[:, :20].mean()) < 0.15
    assert change[:, 20:].mean() > 0.2
    assert np.isnan(read(blind, "images")[:, :, :20]).all()


def test_the_picture_shows_no_truth(blind, judged):
    width = [int.from_bytes((f / "region" / "quicklook.png").read_bytes()[16:20]) for f in (blind, judged)]
    assert width[0] == width[1] * 3 // 4


@pytest.mark.parametrize("known", [False, True])
def test_the_report_shows_what_there_is(blind, judged, known):
    folder = (judged if known else blind) / "region"
    metrics = read_json(folder / "metrics.json", "region/1")
    region = Region(metrics, (folder / "quicklook.png").read_bytes())
    record = {"config": {"region": SECTION.model_dump(mode="json")}}
    data = ReportData(
        ReportSection(), PhotometrySection(), record, {"primary": "bridge"}, {}, {}, None, None, None, region
    )
    body = region_part(data).body
    assert "standard deviation, RMS" in body and "images in a window: median" in body
    scores = ("Scores over the whole region", "Scores over the 2 whole test patches")
    for text in (*scores, "test patches inside", "truth within 1 standard deviation"):
        assert (text in body) is known, text
    assert ("The true terrain is not known here, so there are no scores." in body) is not known


def test_the_verifier_passes_both(blind, judged):
    for folder in (blind, judged):
        assert [row.status for row in check_region(bundle(folder))] == ["PASS"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["std"].update(rms_m=0.5), "std.rms_m: claimed 0.5, found"),
        (lambda m: m["std"].update(spread_skill=1.0), "expected no score without truth.tif"),
        (lambda m: m.update(test_patches={"scores": {}}), "expected no score without truth.tif"),
        (lambda m: m.update(region={"mean": {"rmse_m": 0.1}}), "expected scores std, found std, region.mean"),
    ],
)
def test_numbers_that_nothing_supports_are_found(blind, tmp_path, change, message):
    folder = tmp_path / "copy"
    (folder / "region").mkdir(parents=True)
    for path in (blind / "region").iterdir():
        (folder / "region" / path.name).write_bytes(path.read_bytes())
    metrics = json.loads((folder / "region" / "metrics.json").read_text())
    change(metrics)
    write_json(folder / "region" / "metrics.json", metrics)
    rows = list(check_region(bundle(folder)))
    assert {row.status for row in rows} == {"FAIL"}
    assert any(message in row.detail for row in rows), rows


def test_a_truth_that_is_left_out_is_missed(judged):
    whole = bundle(judged)
    partial = Bundle(whole.folder, tuple(n for n in whole.names if n != "region/truth.tif"))
    assert {row.status for row in check_region(partial)} == {"FAIL"}


def test_windows_of_arrays():
    images, suns, valid = arrays()
    images[0, :, 20:40] = 0.0
    source = ArrayImages(images, suns)
    assert source.count == COUNT
    assert len(source.read(0, 20, 0, 20)) == 0
    part = source.read(8, 24, 16, 32)
    # The first image is dark there; missing pixels are 0.
    assert len(part) == COUNT - 1
    torch.testing.assert_close(part.sun, torch.from_numpy(suns[1:]).float())
    np.testing.assert_array_equal(part.valid, valid[1:, 8:24, 16:32])
    np.testing.assert_array_equal(part.images, np.nan_to_num(images[1:, 8:24, 16:32]))
    picked = source.read(0, 20, 0, 20, only=[3, 0])
    assert not picked.valid.any()
    torch.testing.assert_close(picked.sun, torch.from_numpy(suns[[3, 0]]).float())
    masked = ArrayImages(np.nan_to_num(images), suns, valid).read(8, 24, 16, 32)
    torch.testing.assert_close(masked.images, part.images)


def test_the_sun_may_turn_over_the_region():
    images, suns, _ = arrays()

    def turned(row, col):
        angle = np.radians(col)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        return suns @ turn.T

    source = ArrayImages(images, turned)
    expected = turned(7.5, 39.5)
    np.testing.assert_allclose(source.read(0, 16, 32, 48).sun, expected, atol=1e-6)
    assert not np.allclose(source.read(0, 16, 48, 64).sun, expected, atol=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, s, v: (i[0], s, v), r"images: expected \(N, rows, cols\) .* found \(64, 64\)"),
        (lambda i, s, v: (i, s, v[:, 1:]), r"masks of the same shape, found .* \(5, 63, 64\)"),
        (lambda i, s, v: (i, s, ~v), "expected finite values where data are valid"),
        (lambda i, s, v: (i, s[1:], v), r"suns: expected 5 unit vectors, found shape \(4, 3\)"),
        (lambda i, s, v: (i, 2 * s, v), "suns: expected 5 unit vectors"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ArrayImages(*change(*arrays()))


def test_a_window_beyond_the_images_is_refused():
    images, suns, _ = arrays()
    with pytest.raises(ValueError, match="expected a window within 64 x 64 px, found rows 48 to 80"):
        ArrayImages(images, suns).read(48, 80, 0, 32)


def test_an_apriori_dem_that_does_not_fit_is_refused(ground):
    apriori, _ = ground
    again = apriori_dem(apriori.grid, FACTOR, apriori.halo_cells, apriori.cells)
    np.testing.assert_array_equal(again.prior, apriori.prior)
    with pytest.raises(ValueError, match=r"expected \(10, 10\) cells of 8 px, found \(12, 12\)"):
        apriori_dem(apriori.grid, FACTOR, 1, apriori.cells)
    images, suns, _ = arrays()
    coarse = apriori_dem(apriori.grid, 16, 2, apriori.cells[:8, :8])
    with pytest.raises(ValueError, match=r"expected cells of 8 px and 1 of them around .* found 16 px and 2"):
        reconstruct_region(LitSystem(), coarse, ArrayImages(images, suns), SECTION, BridgeSampler(nfe=7))


def test_sources_are_named(ground):
    config = load_config({"inputs": {"dem": "synthetic"}})
    plan = Plan(config)
    section = RegionStage.model_validate_json(plan["region"].section)
    with pytest.raises(ValueError, match="images: expected a source of rendered, found 'camera'"):
        open_images("camera", section, {}, *ground)
    with pytest.raises(ValueError, match="images: expected true terrain to render them from, found none"):
        open_images("rendered", section, {}, ground[0])
    # Modules that are imported by name must enter the stage's key by themselves.
    law = law_module(config.photometry.law)
    assert plan["region"].code == code_digest(("pipeline.region.reconstruct", SOURCES["rendered"], law))
    assert plan["region"].code != code_digest(("pipeline.region.reconstruct",))
    assert SIZE == LitSystem.size_px
