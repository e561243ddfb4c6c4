"""Contents of a map's page from its GeoTIFFs: pictures of the layers, and values to read off.

Their resolution is limited so that the size of the page is bounded, however large the map is.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.drawing.relief import hillshade, stretch
from pipeline.drawing.style import round_up
from pipeline.maps.kinds import KINDS
from pipeline.maps.overview import Overview, read_overview
from pipeline.maps.picture import CLASSES

Values = NDArray[np.float32]

#: Value of `pack` that stands for no data.
MISSING = 65535

# Colours of a palette: index 0 is no data.
_LEVELS = 255
_STOPS = 9


@dataclass(frozen=True)
class Layer:
    """One picture of the map.

    Attributes
    ----------
    key : of the layer. title : shown to the user. png : the picture. legend : ``low``, ``high``, ``unit`` and
        ``stops`` (colours from low to high), or ``classes`` (pairs of colour and text).
    """

    key: str
    title: str
    png: bytes
    legend: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """JSON values for the page."""
        source = "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")
        return {"key": self.key, "title": self.title, "src": source, "legend": self.legend}


@dataclass(frozen=True)
class _Style:
    """Drawing style of a product's layer: title, colours, unit, fixed ends of the scale, or quantiles."""

    title: str
    colours: str
    unit: str
    low: float | None = None
    high: float | None = None
    quantiles: tuple[float, float] = (0.002, 0.995)


_HEIGHT = _Style("", "viridis", "m", quantiles=(0.002, 0.998))
_PLAIN = {
    "hillshade": _Style("Shaded relief (hillshade.tif)", "gray", ""),
    "std": _Style("Standard deviation of the height", "magma", "m", low=0),
    "slope": _Style("Slope of the mean", "cividis", "degrees", low=0),
    "slope_std": _Style("Standard deviation of the slope", "magma", "degrees", low=0),
    "steep": _Style("Share of clones with a steep slope", "magma", "", 0, 1),
    "lit": _Style("Images that light the pixel", "viridis", "images", low=0, quantiles=(0, 1)),
    "azimuth_gap": _Style("Widest gap between azimuths of light", "cividis", "degrees", 0, 360),
}  # fmt: skip


def layers(products: Mapping[str, str], step: int) -> list[Layer]:
    """All pictures of a map, at one resolution.

    Parameters
    ----------
    products : GeoTIFFs by name, ``mean`` and ``prior`` at least. step : map pixels per pixel of a picture.
    """
    return [*_heights(products, step), *_others(products, step)]


def count_of_layers(products: Mapping[str, str]) -> int:
    """Number of pictures that `layers` makes."""
    return 5 + sum(name in products for name in (*_PLAIN, "class"))


def _heights(products: Mapping[str, str], step: int) -> Iterator[Layer]:
    prior, mean = (read_overview(products[name], step) for name in ("prior", "mean"))
    shade = hillshade(mean.values, mean.pixel_m)
    ends = stretch(shade) if np.isfinite(shade).any() else (0.0, 1.0)
    relief = {"stops": _stops("gray"), "low": ends[0], "high": ends[1], "unit": ""}
    yield Layer("mean_relief", "Mean, shaded relief", _png(shade, "gray", ends), relief)
    shade = hillshade(prior.values, prior.pixel_m)
    yield Layer("prior_relief", "A priori DEM, shaded relief", _png(shade, "gray", ends), relief)
    ends = _ends(mean.values, _HEIGHT)
    legend = {"stops": _stops("viridis"), "low": ends[0], "high": ends[1], "unit": "m"}
    yield Layer("mean", "Mean, height in colour", _png(mean.values, "viridis", ends), legend)
    yield Layer("prior", "A priori DEM, height in colour", _png(prior.values, "viridis", ends), legend)
    change = mean.values - prior.values
    known = np.abs(change[np.isfinite(change)])
    reach = round_up(float(np.quantile(known, 0.985))) if known.size else 1.0
    legend = {"stops": _stops("RdBu_r"), "low": -reach, "high": reach, "unit": "m"}
    yield Layer("change", "Mean minus a priori DEM", _png(change, "RdBu_r", (-reach, reach)), legend)


def _others(products: Mapping[str, str], step: int) -> Iterator[Layer]:
    for name, style in _PLAIN.items():
        if name in products:
            values = read_overview(products[name], step, KINDS[name].average).values
            ends = _ends(values, style)
            legend = {"stops": _stops(style.colours), "low": ends[0], "high": ends[1], "unit": style.unit}
            yield Layer(name, style.title, _png(values, style.colours, ends), legend)
    if "class" in products:
        values = read_overview(products["class"], step, average=False).values
        index = np.nan_to_num(values).astype(np.uint8)
        index[index > len(CLASSES)] = 0
        palette = [(0, 0, 0), *(_rgb(colour) for _, colour, _ in CLASSES)]
        pairs = [[colour, f"{value} {text}"] for value, colour, text in CLASSES]
        yield Layer("class", "What decides the height", _indexed(index, palette), {"classes": pairs})


def _ends(values: Values, style: _Style) -> tuple[float, float]:
    """Values at the ends of a colour scale."""
    known = values[np.isfinite(values)]
    low, high = (float(v) for v in np.quantile(known, style.quantiles)) if known.size else (0.0, 1.0)
    low = low if style.low is None else style.low
    high = high if style.high is None else style.high
    return (low, high) if high > low else (low, low + 1.0)


def _png(values: NDArray[np.floating[Any]], colours: str, ends: tuple[float, float]) -> bytes:
    """PNG of values in a matplotlib colour map, transparent where there are none."""
    import matplotlib

    with np.errstate(invalid="ignore"):
        level = np.floor((values - ends[0]) / (ends[1] - ends[0]) * _LEVELS)
    known = np.isfinite(level)
    index = np.where(known, np.clip(np.where(known, level, 0), 0, _LEVELS - 1) + 1, 0).astype(np.uint8)
    table = np.asarray(matplotlib.colormaps[colours](np.linspace(0, 1, _LEVELS)))[:, :3]
    return _indexed(index, [(0, 0, 0), *(tuple(rgb) for rgb in np.round(table * 255).astype(int).tolist())])


def _indexed(index: NDArray[np.uint8], palette: list[tuple[int, ...]]) -> bytes:
    """A PNG of palette colours, index 0 transparent, without any metadata."""
    from PIL import Image

    rows, cols = index.shape
    picture = Image.frombytes("P", (cols, rows), index.tobytes())
    picture.putpalette([value for colour in palette for value in colour])
    out = io.BytesIO()
    picture.save(out, format="PNG", compress_level=9, transparency=0)
    return out.getvalue()


def _stops(colours: str) -> list[str]:
    import matplotlib

    table = np.asarray(matplotlib.colormaps[colours](np.linspace(0, 1, _STOPS)))[:, :3]
    return ["#{:02x}{:02x}{:02x}".format(*row) for row in np.round(table * 255).astype(int).tolist()]


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


#: Products whose numbers the page holds.
VALUES = ("mean", "prior", "std", "slope", "lit", "class")


def values(products: Mapping[str, str], step: int) -> dict[str, dict[str, Any]]:
    """Values of the page by product, as packed by `pack`.

    Parameters
    ----------
    products : GeoTIFFs by name. step : map pixels per value.
    """
    packed = {}
    for name in VALUES:
        if name in products:
            read = read_overview(products[name], step, KINDS[name].average)
            packed[name] = pack(read, KINDS[name].dtype.startswith("uint"))
    return packed


def pack(read: Overview, whole: bool) -> dict[str, Any]:
    """Values as text: ``value = offset + scale * q``.

    Parameters
    ----------
    read : the values. whole : whether they are counts or classes, which are stored exactly.

    Returns
    -------
    ``rows``, ``cols``, ``scale``, ``offset`` and ``data``: q as unsigned 16-bit numbers, the low byte first,
    row by row, in base64; 65535 where there are no data.
    """
    numbers = read.values.astype(np.float64)
    known = np.isfinite(numbers)
    scale, offset = 1.0, 0.0
    if not whole and known.any():
        offset = float(numbers[known].min())
        span = float(numbers[known].max()) - offset
        scale = span / (MISSING - 1) if span > 0 else 1.0
    level = np.round((np.where(known, numbers, offset) - offset) / scale)
    packed = np.where(known, np.clip(level, 0, MISSING - 1), MISSING).astype("<u2")
    rows, cols = packed.shape
    data = base64.b64encode(packed.tobytes()).decode("ascii")
    return {"rows": rows, "cols": cols, "scale": scale, "offset": offset, "data": data}
