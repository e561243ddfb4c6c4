"""A small map and its images, for the tests of its page, and what reads the page."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from raster_files import SOUTH

from pipeline.maps.products import KINDS
from pipeline.maps.rasters import Rasters
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
