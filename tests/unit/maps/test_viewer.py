"""The page of a map, and its picture."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from maps_browser import MISSING, Browser, find_chrome
from PIL import Image
from raster_files import SOUTH

from pipeline.maps import viewer
from pipeline.maps.overview import grid_of, step_for
from pipeline.maps.picture import write_quicklook
from pipeline.maps.products import KINDS
from pipeline.maps.rasters import Rasters
from pipeline.maps.viewer import render, write_viewer
from pipeline.terrain.map_grid import MapGrid, lunar_projection

ROWS, COLS, PIXEL = 60, 80, 20.0
FACTS = {
    "site": "rim_1", "model": "abc123", "members": 16, "row": 10, "col": 20,
    "check": {"verdict": "it holds", "images": 2},
}  # fmt: skip
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\u202egnp.\udcff\'"&.tif'


def image(path: str, used: bool = True, **more: Any) -> dict[str, Any]:
    """A record of an image as the preparation writes it."""
    found = {"path": path, "product": "P1", "why": "", "azimuth_deg": 30.0, "elevation_deg": 3.5,
             "box": [10, 40, 20, 60], "withheld": False}  # fmt: skip
    return {
        "image": found | more, "used": used, "why": "" if used else "it lies 500 m off", "exposure": 1.25,
        "shift_right_m": 12.0, "shift_up_m": -3.0, "sigma_right_m": 1.5, "sigma_up_m": None,
        "applied_right_m": -11.5, "applied_up_m": 3.0, "correlation_before": 0.4, "correlation_after": 0.75,
    }  # fmt: skip


IMAGES = [
    image("/somewhere/a.tif"),
    image("/somewhere/b.tif", box=[35, 70, 20, 100], azimuth_deg=200.0),
    image("/somewhere/c.tif", used=False, box=None, azimuth_deg=None),
    image("/somewhere/d.tif", withheld=True, box=[0, 70, 0, 100]),
]


def make(folder: Path, rows: int = ROWS, cols: int = COLS) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Products of a map with a corner that has no data."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:rows, :cols]
    prior = (1500 + 3 * y - 2 * x).astype(float)
    mean = prior + rng.normal(0, 2, prior.shape)
    arrays = {
        "mean": mean, "prior": prior, "std": rng.uniform(0.5, 4, prior.shape),
        "slope": rng.uniform(0, 30, prior.shape), "lit": rng.integers(0, 9, prior.shape),
        "class": rng.integers(1, 4, prior.shape), "hillshade": rng.uniform(0, 1, prior.shape),
        "azimuth_gap": rng.uniform(30, 360, prior.shape),
    }  # fmt: skip
    for name, values in arrays.items():
        if KINDS[name].nodata is not None:
            values[:5, :7] = KINDS[name].nodata
    wkt = lunar_projection(SOUTH).wkt_text
    grid = MapGrid(wkt, Affine(PIXEL, 0, 77000.0, 0, -PIXEL, 116000.0), cols, rows)
    paths = {name: str(folder / f"{name}.tif") for name in arrays}
    with Rasters(paths, grid, KINDS, {}) as rasters:
        for name, values in arrays.items():
            rasters.write(name, 0, values)
    return paths, arrays


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    return make(tmp_path_factory.mktemp("products"))


class Page(HTMLParser):
    """Elements, texts and attributes of a page; the parser of Python's own library."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data = ""
        self._script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = (dict(attrs).get("type") or "code") if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._script == "application/json":
            self.data += data
        elif not self._script:
            self.texts.append(data)

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]


def decoded(packed: dict[str, Any]) -> np.ndarray:
    """Numbers that the page holds, NaN where there are none."""
    levels = np.frombuffer(base64.b64decode(packed["data"]), "<u2").reshape(packed["rows"], packed["cols"])
    return np.where(levels == 65535, np.nan, packed["offset"] + packed["scale"] * levels.astype(float))


def test_page_holds_everything(products):
    page = Page(render(products[0], IMAGES, FACTS))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    named = {v for _, a in page.tags for k in ("aria-labelledby", "for") for v in (a.get(k) or "").split()}
    assert named <= set(ids)
    rows = [a for tag, a in page.tags if tag == "tr" and "data-image" in a]
    assert [row["class"] for row in rows] == ["used", "used", "refused", "withheld"]
    text = " ".join(" ".join(page.texts).split())
    for said in ("no authoritative product", "abc123", "it holds; images: 2", "2 used, 1 withheld for the check, 1",
                 "it lies 500 m off", "a.tif", "+12.0 ± 1.5", "−11.5, +3.0", "0.40, 0.75", "20 m, the map's own"):  # fmt: skip
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
    assert f"({data['step']} x {data['step']} pixels of the map)" in text
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


@pytest.fixture(scope="module")
def browser():
    chrome = find_chrome()
    if chrome is None:
        pytest.skip(MISSING)
    with Browser(chrome) as found:
        yield found


def test_in_a_browser(products, browser, tmp_path):
    """Real events of mouse and keyboard, and what the page makes of them."""
    paths, arrays = products
    write_viewer(tmp_path / "page.html", paths, IMAGES, FACTS)
    browser.open(tmp_path / "page.html")
    area = browser.box("#map")

    def place(row: float, col: float) -> tuple[float, float]:
        return area["x"] + (col + 0.5) / COLS * area["width"], area["y"] + (row + 0.5) / ROWS * area["height"]

    def share() -> float:
        return float(browser.value("parseFloat(document.getElementById('divider').style.left)"))

    # The swipe, by mouse and by keys.
    handle = browser.box("#divider")
    start = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    browser.drag(start, (area["x"] + 0.25 * area["width"], start[1]))
    assert share() == pytest.approx(25, abs=0.2)
    assert "75" in browser.value("document.getElementById('image0').style.clipPath")
    browser.key("ArrowRight")
    assert share() == pytest.approx(26, abs=0.2)
    browser.key("End")
    assert share() == 100
    browser.key("Home")
    assert browser.text("#profile-text") == "Mark two places on the map."
    assert browser.value("[0, 1].every((i) => document.getElementById('image' + i).naturalWidth === 80)")

    # Under the pointer.
    row, col = 31, 22
    browser.mouse("Moved", *place(row, col))
    grid = grid_of(paths["mean"])
    x, y = (float(v) for v in grid.xy(row, col))

    def number(name: str) -> float:
        return float(re.match(r"[\d.−]+", browser.text(f"#at-{name}"))[0].replace("−", "-"))

    # A place of the mouse may be rounded to a whole point of the screen.
    near = PIXEL * COLS / area["width"]
    assert number("x") == pytest.approx(x, abs=near) and number("y") == pytest.approx(y, abs=near)
    lon, lat = (float(v) for v in grid.projection.lonlat(number("x"), number("y")))
    # x and y are shown to 0.1 m.
    assert number("lon") == pytest.approx(lon, abs=5e-5) and number("lat") == pytest.approx(lat, abs=1e-5)
    for name in ("mean", "prior", "std", "slope"):
        assert number(name) == pytest.approx(arrays[name][row, col], abs=0.011)
    assert number("lit") == arrays["lit"][row, col]
    kind = ["no data", "images", "images and a priori DEM", "a priori DEM"][arrays["class"][row, col]]
    assert browser.text("#at-class") == kind
    browser.mouse("Moved", *place(2, 3))
    assert browser.text("#at-mean") == "no data" and browser.text("#at-class") == "no data"

    # Images over a pixel: boxes are in the working area, in which the map begins at row 10, column 20.
    here = "[...document.querySelectorAll('#images tr.here')].map((row) => Number(row.dataset.image))"
    for at, expected in (((5, 30), [0, 3]), ((27, 30), [0, 1, 3]), ((50, 60), [1, 3]), ((20, 50), [3])):
        browser.mouse("Moved", *place(*at))
        assert browser.value(here) == expected, at
    assert browser.text("#at-images") == "1, of which 0 used"
    assert browser.value("document.querySelectorAll('#rose .here').length") == 1

    # Two clicks, one profile.
    browser.click(*place(30, 10))
    assert browser.text("#profile-text") == "Mark the other end on the map."
    browser.click(*place(30, 70))
    said = browser.text("#profile-text")
    length = float(re.search(r"second: ([\d.]+) m", said)[1])
    ground = grid.true_pixel_m((ROWS - 1) / 2, (COLS - 1) / 2)
    assert length == pytest.approx(60 * ground, abs=2 * near)
    shown = browser.box("#profile")
    assert shown["height"] > 100
    for name in ("mean", "prior", "band", "change"):
        assert browser.value(f"document.querySelectorAll('#profile path.{name}').length") >= 1
    labels = browser.value("[...document.querySelectorAll('#profile text')].map((one) => one.textContent)")
    assert "height, m" in labels and "distance on the ground, m" in labels and "1000" in labels

    # The same by keys alone, from a profile that is cleared.
    browser.key("Escape")
    browser.value("document.getElementById('map').focus()")
    for key in ("Escape", "ArrowRight", "Enter", "ArrowDown", "ArrowDown", "Enter"):
        browser.key(key)
    assert float(re.search(r"second: ([\d.]+) m", browser.text("#profile-text"))[1]) == pytest.approx(
        2 * ground, abs=0.1
    )
    browser.screenshot(tmp_path / "page.png")
    assert len(Image.open(tmp_path / "page.png").convert("RGB").getcolors(2**24)) > 200
    assert browser.errors == []
    assert all(url.startswith(("data:image/png", "file://")) for url in browser.requests)


def test_hostile_names_in_a_browser(products, browser, tmp_path):
    records = [image(f"/x/{HOSTILE.replace('/', '')}", product=HOSTILE)]
    write_viewer(tmp_path / "page.html", products[0], records, {"site": HOSTILE, "check": HOSTILE})
    browser.open(tmp_path / "page.html")
    assert browser.value("document.querySelectorAll('script').length") == 2
    assert browser.value("document.querySelectorAll('img').length") == 2
    assert "alert(1)" in browser.text("h1") and browser.errors == []
