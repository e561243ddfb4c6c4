"""Schemas of the zarr stores; writers validate against them and readers check ``attrs["schema"]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Schema:
    """Required and optional arrays (name -> dtype and dimensions) and required attributes of a store."""

    tag: str
    required: Mapping[str, tuple[str, tuple[str, ...]]]
    optional: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    attrs: tuple[str, ...] = ()


_PATCH_TABLE = {
    "id": ("i8", ("patch",)),
    **dict.fromkeys(("row", "col", "site"), ("i4", ("patch",))),
    **dict.fromkeys(("x0", "y0", "lon", "lat"), ("f8", ("patch",))),
    "on_grid": ("b1", ("patch",)),
    "halo": ("i4", ("patch", "side")),
    "pole": ("i1", ("patch",)),
}
_LIGHT = {
    **dict.fromkeys(("fixed/lit", "fibonacci/lit"), ("u1", ("patch", "direction", "y", "xbyte"))),
    **dict.fromkeys(("fixed/share", "fibonacci/share"), ("u1", ("patch", "direction", "y", "x"))),
}
_SUNS = {
    "fixed/sun": ("f4", ("direction", "vector")),
    "fibonacci/sun": ("f4", ("patch", "direction", "vector")),
    "fibonacci/present": ("b1", ("patch", "direction")),
}

# The fixed draws of a test shard, one group per name in `arcs.test`; images are padded with -1.
_DRAWS = {
    "draws_*/lon": ("f8", ("patch",)),
    "draws_*/lat": ("f8", ("patch",)),
    "draws_*/images": ("i4", ("patch", "image")),
    "draws_*/strips": ("f8", ("patch", "image", "strip")),
}

# Images for users; no stage reads them.
_IMAGES = {"fixed/radiance": ("f2", ("patch", "direction", "y", "x"))}

# Rendered image sets, concatenated along `image`.
_SCENES = {
    "sun": ("f4", ("patch", "image", "vector")),
    "shift": ("f4", ("patch", "image", "axis")),
    "set": ("u1", ("patch", "image")),
    "relief": ("f4", ("patch", "image")),
    "radiance": ("f2", ("patch", "image", "y", "x")),
    "expected": ("u1", ("patch", "image", "y", "xbyte")),
}

SCHEMAS: dict[str, Schema] = {
    "patches": Schema(
        "patches/1",
        {"dem": ("f4", ("patch", "y", "x")), **_PATCH_TABLE},
        {"count": ("f4", ("patch", "py", "px"))},
        ("pixel_m", "size_px", "halo_px", "crs_wkt"),
    ),
    "visibility": Schema(
        "visibility/1", {"id": ("i8", ("patch",)), **_SUNS}, _LIGHT, ("size_px", "sun", "engine")
    ),
    "scenes": Schema(
        "scenes/1", {"id": ("i8", ("patch",)), **_SCENES}, {}, ("pixel_m", "size_px", "sets", "mesh")
    ),
    "shard": Schema(
        "shard/1",
        {"dem": ("f4", ("patch", "y", "x")), **_PATCH_TABLE, **_SUNS},
        {**_LIGHT, **_DRAWS, **_IMAGES, "spots": ("f4", ("patch", "py", "px"))}
        | {f"scenes/{name}": kind for name, kind in _SCENES.items()},
        ("pixel_m", "size_px", "halo_px", "factor", "split", "light_halo_px", "sun"),
    ),
    # One group per pixel lattice; `lattice`, `row` and `col` locate each site's first pixel.
    "far": Schema(
        "far/1",
        {"lattice": ("i4", ("site",)), "row": ("i8", ("site",)), "col": ("i8", ("site",))},
        {"lattice_*/dem": ("f4", ("y", "x"))},
        ("pixel_m", "cell_px"),
    ),
    # A site's a priori DEM on the map's pixels; `surface` includes the terrain around that casts shadows.
    "ground": Schema(
        "ground/1",
        {
            "cells": ("f8", ("cell_y", "cell_x")),
            "dem": ("f8", ("y", "x")),
            "known": ("b1", ("y", "x")),
            "surface": ("f4", ("wide_y", "wide_x")),
        },
        {"count": ("f4", ("y", "x")), "error": ("f4", ("y", "x")), "far": ("f8", ("far_y", "far_x"))},
        ("layout", "halo_cells", "margin_px"),
    ),
    # Real images on the map's pixels, NaN where they have no data.
    "prepared": Schema("prepared/1", {"radiance": ("f4", ("image", "y", "x"))}, {}, ("images",)),
    # Clones of windows, metres above each window's `reference`.
    "clones": Schema(
        "clones/1",
        {
            "clones": ("f4", ("window", "member", "y", "x")),
            **dict.fromkeys(("row", "col"), ("i4", ("window",))),
            "reference": ("f8", ("window",)),
        },
        {},
        ("size_px",),
    ),
    # Share of the a priori DEM in a map (1: no reconstruction), and that DEM's uncertainty, metres.
    "fallback": Schema(
        "fallback/1", {"share": ("f4", ("y", "x")), "sigma": ("f4", ("y", "x"))}, {}, ("verdict",)
    ),
    "examples": Schema(
        "examples/1",
        {
            "id": ("i8", ("patch",)),
            **dict.fromkeys(("truth", "prior", "mean", "clone", "std", "image"), ("f4", ("patch", "y", "x"))),
        },
        {},
        ("pixel_m", "system"),
    ),
}


def check_written(name: str, arrays: Mapping[str, tuple[str, ...]], root: Any, path: Path) -> None:
    """Check a written store against its schema.

    Raises
    ------
    ValueError
        If it differs; the message names the store, the array or attribute, and what was expected and found.
    """
    schema = SCHEMAS[name]
    for key in schema.required:
        if key not in arrays:
            raise ValueError(f"{path}: schema {schema.tag}: expected an array {key!r}, found none")
    known = {**schema.required, **schema.optional}
    for key, found_dims in arrays.items():
        match = next((pattern for pattern in known if fnmatchcase(key, pattern)), None)
        if match is None:
            raise ValueError(f"{path}: schema {schema.tag}: found an unknown array {key!r}")
        dtype, dims = known[match]
        if found_dims != dims:
            raise ValueError(f"{path}: {key}: expected dimensions {dims}, found {found_dims}")
        found = root[key].dtype.str[1:]
        if found != dtype:
            raise ValueError(f"{path}: {key}: expected type {dtype}, found {found}")
    for key in schema.attrs:
        if key not in root.attrs:
            raise ValueError(f"{path}: schema {schema.tag}: expected an attribute {key!r}, found none")
