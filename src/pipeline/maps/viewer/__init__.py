"""The page of a map: two layers with a divider, profiles, the sources of each pixel, and all images.

A single file that a browser opens without a network; equal inputs give equal bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from markupsafe import Markup

from pipeline.drawing.relief import LIGHT
from pipeline.drawing.style import metres_text, round_down
from pipeline.maps.layers import VALUES, count_of_layers, layers, values
from pipeline.maps.overview import grid_of, ground_pixel_m, step_for
from pipeline.storage.atomic import write_text
from pipeline.storage.templates import templates
from pipeline.terrain.map_grid import MapGrid

# Largest number of bytes of pictures and of values in a page; before base64, pictures need at most about one
# byte per pixel, values two.
_PICTURE_BYTES, _VALUE_BYTES = 11e6, 8e6
_BASE64 = 4 / 3
# Nodes along each side of the lattice of longitudes and latitudes.
_NODES = 33
# Radius of the polar diagram of the Suns, in its own units.
_ROSE = 80.0


def write_viewer(
    path: Path | str,
    products: Mapping[str, str],
    images: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> None:
    """Write the page, atomically.

    Parameters
    ----------
    path : HTML file to make.
    products : GeoTIFFs by their names in `pipeline.maps.products.KINDS`; ``mean`` and ``prior`` are needed,
        others are shown where given.
    images : one record per image, see `pipeline.maps.prepare.Prepared.to_json`.
    facts : about the map; shown where given: ``site``, ``model`` (fingerprint), ``members``, ``row`` and
        ``col`` (the map's top-left pixel in the working area that the images' boxes are in; 0 where not
        given), and ``check`` (a text, or a mapping with ``verdict`` and other values).
    """
    write_text(path, render(products, images, facts))


def render(products: Mapping[str, str], images: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """The page as HTML; parameters as in `write_viewer`.

    Raises
    ------
    ValueError
        If a product is not on the grid of the mean.
    """
    grid = grid_of(products["mean"])
    for name, product in products.items():
        other = grid_of(product)
        if not grid.same_as(other):
            raise ValueError(f"{product}: expected the pixels of {products['mean']}, found others ({name})")
    rows = [_row(i, record) for i, record in enumerate(images)]
    drawn = step_for(grid, _PICTURE_BYTES / (_BASE64 * count_of_layers(products)))
    held = sum(name in products for name in VALUES)
    step = step_for(grid, _VALUE_BYTES / (_BASE64 * 2 * held))
    pixel = ground_pixel_m(grid)
    data = {
        "width": grid.width, "height": grid.height, "left": grid.origin[0], "top": grid.origin[1],
        "pixel": grid.pixel_m, "ground": pixel / grid.pixel_m, "step": step,
        "row": int(facts.get("row") or 0), "col": int(facts.get("col") or 0),
        "lattice": _lattice(grid), "layers": [layer.to_json() for layer in layers(products, drawn)],
        "values": values(products, step), "boxes": [row["box"] for row in rows],
        "used": [row["state"] == "used" for row in rows],
        "classes": ["no data", "images", "images and a priori DEM", "a priori DEM"],
    }  # fmt: skip
    bar = round_down(grid.width * pixel / 3.5)
    page = templates("pipeline.maps.viewer").get_template("viewer.html")
    return page.render(
        site=_text(str(facts.get("site") or "map")).replace("_", " "),
        facts=_facts(grid, rows, facts),
        rows=rows,
        rose=_rose(rows, grid),
        drawn=_resolution(drawn, grid),
        held=_resolution(step, grid),
        light=LIGHT,
        bar={"share": 100 * bar / (grid.width * pixel), "text": metres_text(bar)},
        grid=grid,
        data=_json(data),
    )


def _json(value: Any) -> Markup:
    """JSON in which an HTML parser cannot find the end of a script."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704


def _text(value: str) -> str:
    """Valid UTF-8 text of printable characters only; file names may contain any bytes."""
    whole = value.encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in whole)


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    if value is None or isinstance(value, (str, bool)) or not math.isfinite(value):
        return None
    return float(value)


def _shown(value: Any, digits: int, sign: bool = False) -> str:
    number = _number(value)
    if number is None:
        return "–"
    return f"{number:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _row(index: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of images."""
    image = {**record.get("image", {}), **{k: v for k, v in record.items() if k != "image" and v is not None}}
    used, why = bool(record.get("used")), str(image.get("why") or "")
    state = "withheld" if used and image.get("withheld") else "used" if used else "refused"
    box = image.get("box")
    before, after = (_shown(image.get(f"correlation_{when}"), 2) for when in ("before", "after"))
    shifts = {}
    for side in ("right", "up"):
        sigma = _number(image.get(f"sigma_{side}_m"))
        more = "" if sigma is None else f" ± {_shown(sigma, 1)}"
        shifts[side] = _shown(image.get(f"shift_{side}_m"), 1, sign=True) + more
        shifts[f"applied_{side}"] = _shown(image.get(f"applied_{side}_m"), 1, sign=True) if used else "–"
    exposure = _number(image.get("exposure"))
    return {
        "index": index, "state": state,
        # The folder is private to the author of the map.
        "name": _text(PurePosixPath(str(image.get("path") or "")).name or "image"),
        "product": _text(str(image.get("product") or "")), "why": _text(why),
        "box": [int(v) for v in box] if box is not None else None,
        "azimuth": _number(image.get("azimuth_deg")), "elevation": _number(image.get("elevation_deg")),
        "azimuth_text": _shown(image.get("azimuth_deg"), 1),
        "elevation_text": _shown(image.get("elevation_deg"), 2),
        "exposure": "–" if exposure is None else f"{exposure:.3g}", "before": before, "after": after,
        **shifts,
    }  # fmt: skip


def _rose(rows: Sequence[Mapping[str, Any]], grid: MapGrid) -> dict[str, Any]:
    """Polar diagram of the Suns of used and withheld images: the rim is the horizon, the centre `top` deg."""
    known = [row for row in rows if row["state"] != "refused" and row["azimuth"] is not None]
    highest = max((row["elevation"] or 0.0 for row in known), default=0.0)
    top = 90.0 if highest > 60 else max(5.0, 5 * math.ceil(highest * 1.3 / 5))
    suns = []
    for row in known:
        radius = _ROSE * (1 - min(max(row["elevation"] or 0.0, 0.0), top) / top)
        turn = math.radians(row["azimuth"])
        suns.append({"row": row, "x": _near(radius * math.sin(turn)), "y": _near(-radius * math.cos(turn))})
    north = math.radians(grid.north_deg((grid.height - 1) / 2, (grid.width - 1) / 2))
    reach = _ROSE + 11
    return {
        "radius": _ROSE, "top": top, "suns": suns,
        "north": {"x": _near(reach * math.sin(north)), "y": _near(-reach * math.cos(north))},
    }  # fmt: skip


def _near(value: float) -> float:
    return round(value, 2) + 0.0


def _lattice(grid: MapGrid) -> dict[str, Any]:
    """Longitudes and latitudes of nodes spaced evenly from edge to edge of the map, degrees."""
    sides = [np.linspace(-0.5, length - 0.5, _NODES) for length in (grid.height, grid.width)]
    # PROJ does not broadcast: full arrays of both.
    both = grid.lonlat(*np.meshgrid(*sides, indexing="ij"))
    lon, lat = ([round(float(v), 7) for v in side.ravel()] for side in both)
    return {"nodes": _NODES, "lon": lon, "lat": lat}


def _resolution(step: int, grid: MapGrid) -> str:
    if step == 1:
        return f"{grid.pixel_m:g} m, the map's own"
    return f"{step * grid.pixel_m:g} m ({step} x {step} pixels of the map, averaged; of classes one)"


def _facts(
    grid: MapGrid, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Names and texts of the map's properties."""
    lon, lat = (float(v) for v in grid.lonlat((grid.height - 1) / 2, (grid.width - 1) / 2))
    left, bottom, right, top = (f"{v:.10g}" for v in grid.bounds)
    count = {state: sum(row["state"] == state for row in rows) for state in ("used", "withheld", "refused")}
    width, height = (f"{n * grid.pixel_m / 1000:.4g}" for n in (grid.width, grid.height))
    found = [
        ("Site", str(facts.get("site") or "unnamed")),
        ("Size", f"{grid.width} x {grid.height} pixels, {width} x {height} km on the map"),
        ("Pixel", f"{grid.pixel_m:g} m on the map, {ground_pixel_m(grid):.5g} m on the ground at its centre"),
        ("Bounds", f"x {left} to {right} m, y {bottom} to {top} m"),
        ("Centre", f"longitude {lon:.4f}°, latitude {lat:.4f}°"),
        ("Model", str(facts.get("model") or "not given")),
        ("Clones", str(facts["members"]) if facts.get("members") is not None else "not given"),
        (
            "Images",
            f"{count['used']} used, {count['withheld']} withheld for the check, {count['refused']} not used",
        ),
    ]
    check = facts.get("check")
    if isinstance(check, Mapping):
        texts = [str(check["verdict"])] if check.get("verdict") is not None else []
        for key, value in check.items():
            if key != "verdict" and isinstance(value, (str, int, float)):
                shown = f"{value:.4g}" if isinstance(value, float) else value
                texts.append(f"{key.replace('_', ' ')}: {shown}")
        check = "; ".join(texts)
    found.append(("Check", str(check) if check else "none: no image was withheld to check the map"))
    return [(name, _text(text)) for name, text in found]
