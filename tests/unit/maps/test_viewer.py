"""The page of a map, and its picture."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from affine import Affine
from map_pages import COLS, FACTS, HOSTILE, IMAGES, ROWS, Page, decoded, image, make
from PIL import Image
from raster_files import SOUTH

from pipeline.maps import viewer
from pipeline.maps.overview import step_for
from pipeline.maps.picture import write_quicklook
from pipeline.maps.viewer import render, write_viewer
from pipeline.terrain.map_grid import MapGrid, lunar_projection


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    return make(tmp_path_factory.mktemp("products"))


def test_page_holds_everything(products):
    page = Page(render(products[0], IMAGES, FACTS))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    named = {v for _, a in page.tags for k in ("aria-labelledby", "for") for v in (a.get(k) or "").split()}
    assert named <= set(ids)
    rows = [a for tag, a in page.tags if tag == "tr" and "data-image" in a]
    assert [row["class"] for row in rows] == ["used", "used", "refused", "withheld"]
    text = " ".join(" ".join(page.texts).split())
    for said in (
        "not an authoritative product", "abc123", "it holds; images: 2",
        "2 used, 1 withheld for the check, 1 not used",
        "it lies 500 m off", "a.tif", "+12.0 ± 1.5", "−11.5, +3.0", "0.40, 0.75", "20 m, the map's own",
    ):  # fmt: skip
        assert said in text
    assert "/somewhere" not in text
    suns = [a for tag, a in page.tags if tag == "circle" and "sun" in (a.get("class") or "")]
    assert len(suns) == 3
    # Nothing but pictures inside the page has an address.
    data = json.loads(page.data)
    assert all(layer["src"].startswith("data:image/png;base64,") for layer in data["layers"])
    assert not [a for _, a in page.tags if {"src", "href"} & set(a)]


def test_page_without_images_or_facts(products):
    two = {name: products[0][name] for name in ("mean", "prior")}
    page = Page(render(two, [], {}))
    assert any("made without images" in text for text in page.texts)
    assert any("no image was withheld" in text for text in page.texts)


def test_numbers_decode_to_the_rasters(products):
    paths, arrays = products
    data = json.loads(Page(render(paths, IMAGES, FACTS)).data)
    assert set(data["values"]) == {"mean", "prior", "std", "slope", "lit", "class"}
    for name, packed in data["values"].items():
        expected = np.array(arrays[name], float)
        if name == "class":
            expected[expected == 0] = np.nan
        got = decoded(packed)
        # Half a step, and the rounding to float32 of the file.
        np.testing.assert_allclose(got, expected, atol=packed["scale"] / 2 + 2e-4 if name != "lit" else 0)
    assert data["values"]["lit"]["scale"] == 1


def test_pictures_show_the_rasters(products):
    paths, arrays = products
    layers = {one["key"]: one for one in json.loads(Page(render(paths, IMAGES, FACTS)).data)["layers"]}
    assert set(layers) >= {
        "mean",
        "mean_relief",
        "prior",
        "prior_relief",
        "std",
        "hillshade",
        "slope",
        "class",
        "lit",
    }
    picture = Image.open(io.BytesIO(base64.b64decode(layers["class"]["src"].split(",")[1]))).convert("RGBA")
    pixels = np.asarray(picture)
    assert pixels.shape == (ROWS, COLS, 4)
    assert (pixels[..., 3] == np.where(arrays["class"] == 0, 0, 255)).all()
    for colour, text in layers["class"]["legend"]["classes"]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels[arrays["class"] == int(text[0])][:, :3] == rgb).all()


def test_hostile_names_stay_text(products, tmp_path):
    facts = {**FACTS, "site": HOSTILE, "check": HOSTILE}
    records = [
        image(f"/x/{HOSTILE.replace('/', '')}", product=HOSTILE),
        image("a", used=False) | {"why": HOSTILE},
    ]
    write_viewer(tmp_path / "page.html", products[0], records, facts)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    harmless = Page(render(products[0], [image("a"), image("b", used=False)], FACTS))
    page = Page(text)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in harmless.tags]
    assert not re.search("<script>alert|<img src=x", text)
    assert any("alert(1)" in one for one in page.texts)
    json.loads(page.data)


def test_same_bytes_every_time(products, tmp_path):
    paths = products[0]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_viewer(tmp_path / name / "page.html", paths, IMAGES, FACTS)
        write_quicklook(tmp_path / name / "picture.png", paths, {**FACTS, "images": 2})
    for name in ("page.html", "picture.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_page_of_a_large_map_stays_small(tmp_path, monkeypatch):
    paths, arrays = make(tmp_path, 301, 407)
    monkeypatch.setattr(viewer, "_PICTURE_BYTES", 1.1e5)
    monkeypatch.setattr(viewer, "_VALUE_BYTES", 8e4)
    text = render(paths, IMAGES, FACTS)
    page = Page(text)
    data = json.loads(page.data)
    assert data["step"] > 1 and sum(len(v["data"]) for v in data["values"].values()) <= 8e4
    # Palettes and headers of twelve PNGs come on top.
    assert sum(len(layer["src"]) for layer in data["layers"]) <= 1.1e5 + 12 * 1600
    assert f"({data['step']} x {data['step']} pixels of the map, averaged" in text
    step, mean = data["step"], decoded(data["values"]["mean"])
    # Means over the pixels of a value, which the overviews of the file bring about.
    row, col = 8, 9
    middle = arrays["mean"][row * step : (row + 1) * step, col * step : (col + 1) * step].mean()
    assert abs(mean[row, col] - middle) < 3 * step


def test_step_for():
    grid = MapGrid(lunar_projection(SOUTH).wkt_text, Affine(1, 0, 1e5, 0, -1, 1e5), 1000, 500)
    assert step_for(grid, 500_000) == 1
    assert step_for(grid, 499_999) == 2
    assert step_for(grid, 0.5) == 1000


def test_products_of_other_pixels_are_refused(products, tmp_path):
    other = make(tmp_path, 40, 40)[0]
    with pytest.raises(ValueError, match=r"std\.tif: expected the pixels of .*mean\.tif"):
        render({**products[0], "std": other["std"]}, [], {})


def test_picture(products, tmp_path):
    write_quicklook(tmp_path / "all.png", products[0], {**FACTS, "site": "costs $5 and $6", "images": 2})
    two = {name: products[0][name] for name in ("mean", "prior", "azimuth_gap")}
    write_quicklook(tmp_path / "few.png", two, {})
    for name in ("all", "few"):
        picture = Image.open(tmp_path / f"{name}.png")
        assert picture.mode == "RGB" and not picture.info and len(picture.getcolors(2**24)) > 200
