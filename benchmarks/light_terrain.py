"""Terrain for the benchmarks of light: real if it is available, else fractal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT.parent / "shared" / "data" / "lola_40m", ROOT / "resources" / "lola_40m")
SITES = ("amundsen_rim", "shoemaker", "malapert_massif")
WINDOW_SITE = "leibnitz_beta_plateau_extended"  # the largest window, 775 x 775
PIXEL_M, SIZE, HALO, CORNER = 40.0, 96, 96, 100
INNER = (HALO, HALO, SIZE, SIZE)
Floats = NDArray[np.floating]


def terrain() -> tuple[str, list[Floats], Floats]:
    """Source of the terrain, patches with their halo, and one whole window."""
    for folder in FOLDERS:
        if folder.is_dir():
            import rasterio

            windows = []
            for site in (*SITES, WINDOW_SITE):
                with rasterio.open(folder / f"{site}_40m.tif") as source:
                    windows.append(source.read(1))
            cut = slice(CORNER, CORNER + SIZE + 2 * HALO)
            return f"real: {folder}", [w[cut, cut] for w in windows[:-1]], windows[-1]
    fractals = [fractal(SIZE + 2 * HALO, seed) for seed in range(len(SITES))]
    return "synthetic fractal terrain (no lola_40m folder found)", fractals, fractal(775, 99)


def fractal(size: int, seed: int) -> Floats:
    """Random terrain of spectrum k^-2 in amplitude and a mean slope like the real patches' (11.5 degrees)."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    k[0, 0] = np.inf
    z = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) / k**2, s=(size, size))
    slope = np.hypot(*np.gradient(z, PIXEL_M))
    return (z * np.tan(np.radians(11.5)) / slope.mean()).astype(np.float32)


def mirrored(window: Floats, size: int) -> Floats:
    """A square of the given side: part of the window, or the window extended by its mirror image."""
    if size <= min(window.shape):
        return np.ascontiguousarray(window[:size, :size])
    return np.pad(window, [(0, size - n) for n in window.shape], mode="symmetric")
