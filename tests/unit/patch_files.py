"""Patch stores of rough terrain, without a raster file behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.storage.store import StoreWriter

SIZE, HALO, PIXEL = 20, 6, 20.0


def make_patches(
    path: Path, ids: list[int], relief: float = 12.0, place: dict[int, tuple[float, float]] | None = None
) -> np.ndarray:
    """A patch store of rough terrain; patch k depends on its id alone. `place`: map metres of each patch."""
    side = SIZE + 2 * HALO
    noise = [np.random.default_rng(i).normal(0, relief, (side, side)) for i in ids]
    dem = (
        np.stack([0.4 * n.cumsum(0) + 0.4 * n.cumsum(1) for n in noise]) if ids else np.zeros((0, side, side))
    )
    dem = dem.astype(np.float32)
    dem[:, :2] = np.nan
    n = len(ids)
    attrs = {"pixel_m": PIXEL, "size_px": SIZE, "halo_px": HALO, "crs_wkt": ""}
    with StoreWriter(path, "patches", attrs) as writer:
        writer.write("dem", dem, ("patch", "y", "x"), chunks=(1, side, side))
        writer.write("id", np.array(ids, np.int64), ("patch",))
        for name in ("row", "col", "site"):
            writer.write(name, np.zeros(n, np.int32), ("patch",))
        for k, name in enumerate(("x0", "y0")):
            writer.write(name, np.array([(place or {}).get(i, (0, 0))[k] for i in ids], float), ("patch",))
        writer.write("lon", np.zeros(n), ("patch",))
        writer.write("lat", np.full(n, -89.0), ("patch",))
        writer.write("on_grid", np.ones(n, bool), ("patch",))
        writer.write("halo", np.full((n, 4), HALO, np.int32), ("patch", "side"))
        writer.write("pole", np.full(n, -1, np.int8), ("patch",))
    return dem
