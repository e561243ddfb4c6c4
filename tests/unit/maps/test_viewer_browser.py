"""The page of a map in a real browser."""

from __future__ import annotations

import re

import numpy as np
import pytest
from map_pages import COLS, FACTS, HOSTILE, IMAGES, PIXEL, ROWS, image, make
from maps_browser import MISSING, Browser, find_chrome
from PIL import Image

from pipeline.maps.overview import grid_of
from pipeline.maps.viewer import write_viewer


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    return make(tmp_path_factory.mktemp("products"))


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
