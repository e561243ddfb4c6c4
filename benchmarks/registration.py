"""Register images with DEMs as for a user's map, and print the errors of the results.

Usage: PYTHONPATH=src python benchmarks/registration.py [folder of the shared data, default ../shared/data]
       [take every n-th image of the challenge sets, default 1]

Prints first the shift of the real image over the Apollo 15 DTM, which is about 260 m too far west, and the
dark level of the real image at 84 S. Then, for the two challenge sets: refused images with reasons; errors of
the difference between the shifts of an image as given and displaced by up to 5 pixels, and the same for a
parabola through the correlation's peak; shifts against the a priori DEM minus those against the true ground,
also divided by their standard error; dark levels and exposures.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.directions import vectors
from pipeline.illumination.ephemeris import map_vectors, sun_vector
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.photometry import radiance
from pipeline.illumination.place import Place
from pipeline.imagery.correlation import masked_correlation, peak
from pipeline.imagery.darkness import DarkLevel, dark_level
from pipeline.imagery.exposure import exposure
from pipeline.imagery.refinement import Scales
from pipeline.imagery.registration import Match, plausible, register
from pipeline.imagery.smoothing import normalised

Floats = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
SETS = ("nobile_rim_1", "malapert_crater_1")
SUN_DEG = 0.533
MARGIN_PX = 20
SEARCH_PX = 10.0


def render(
    dem: Floats, pixel_m: float, inner: tuple[int, int, int, int], sun: Floats, law: Any = "lambert"
) -> tuple[Floats, Floats]:
    """Radiance with cast shadows, and the Sun's visible share, over an inner window ``(top, left, H, W)``."""
    top, left, height, width = inner
    share = HorizonVisibility(dem, pixel_m, inner).share(sun[None], SUN_DEG)[0].astype(np.float64)
    around = dem[top - 1 : top + height + 1, left - 1 : left + width + 1]
    light = radiance(around, pixel_m, sun[None], None, PhotometrySection(law=law))[0, 1:-1, 1:-1]
    return light * share, share


def warp(
    path: Path, transform: Affine, shape: tuple[int, int], crs: Any, nodata: float | None = None
) -> Floats:
    """A raster's first band averaged onto other pixels, NaN without data."""
    with rasterio.open(path) as source:
        raw, lost = source.read(1), source.nodata if nodata is None else nodata
        wrong = ~np.isfinite(raw) | (raw < -1e30) | (False if lost is None else raw == lost)
        values = np.where(wrong, np.nan, raw * source.scales[0] + source.offsets[0])
        out = np.full(shape, np.nan)
        reproject(
            values, out, src_transform=source.transform, src_crs=source.crs, dst_transform=transform,
            dst_crs=crs, src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.average,
        )  # fmt: skip
    return out


@dataclass
class Challenge:
    """One challenge set: a priori DEM, true ground in it, Suns by product, and the pixels of the map."""

    folder: Path
    dem: Floats
    truth: Floats
    inner: tuple[int, int, int, int]
    transform: Affine
    crs: Any
    suns: dict[str, tuple[Floats, Floats]]
    pixel_m: float = 40.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.inner[2:]

    def image(self, name: str, right_px: float = 0.0, up_px: float = 0.0) -> Floats:
        """An image whose content is moved to the right and up."""
        moved = Affine(
            self.pixel_m, 0, self.transform.c - self.pixel_m * right_px,
            0, -self.pixel_m, self.transform.f - self.pixel_m * up_px,
        )  # fmt: skip
        return warp(self.folder / "images" / f"{name}.tif", moved, self.shape, self.crs)


def read_challenge(folder: Path) -> Challenge:
    """Read a set; registration uses the pixels of the region and a margin."""
    region = json.loads((folder / "region.json").read_text())
    with rasterio.open(folder / "ldem_40m.tif") as source:
        dem, grid, crs = source.read(1).astype(np.float64), source.transform, source.crs
    with rasterio.open(folder / "truth_40m.tif") as source:
        small, place = source.read(1).astype(np.float64), source.transform
    row, col = round((grid.f - place.f) / 40), round((place.c - grid.c) / 40)
    truth = dem.copy()
    truth[row : row + small.shape[0], col : col + small.shape[1]] = small
    top, left, size = row - MARGIN_PX, col - MARGIN_PX, small.shape[0] + 2 * MARGIN_PX
    here = Place(region["lon"], region["lat"], region["lon"], -1)
    suns = {}
    with (folder / "index.csv").open() as stream:
        for line in csv.DictReader(stream):
            below = float(line["SUB_SOLAR_LONGITUDE"]), float(line["SUB_SOLAR_LATITUDE"])
            azimuth, elevation = sun_vector(here.lon, here.lat, *below)
            both = map_vectors(azimuth, elevation, here), map_vectors(azimuth + 180, elevation, here)
            suns[line["PRODUCT_ID"]] = both
    transform = Affine(40, 0, grid.c + 40 * left, 0, -40, grid.f - 40 * top)
    return Challenge(folder, dem, truth, (top, left, size, size), transform, crs, suns)


def shift(match: Match) -> Floats:
    return np.array([match.shift_right_px, match.shift_up_px])


def sigma(match: Match) -> Floats:
    return np.array([match.sigma_right_px, match.sigma_up_px])


def parabola(image: Floats, rendering: Floats) -> Floats:
    """Shift from only a parabola through the correlation's peak."""
    mask, scales = np.isfinite(image).astype(np.float64), Scales()
    one = normalised(np.nan_to_num(image), mask, scales.fine_px, scales.coarse_px)
    ones = np.ones_like(mask)
    two = normalised(rendering, ones, scales.fine_px, scales.coarse_px)
    down, right = peak(masked_correlation(one, two, mask, ones, int(SEARCH_PX), 0.5))[1]
    return np.array([right, -down])


def percentiles(found: list[Any] | Floats) -> str:
    values = np.asarray(found, dtype=np.float64)
    return " / ".join(f"{k:.3f}" for k in np.percentile(values, (50, 85, 100))) if values.size else "none"


def measure(site: Challenge, step: int, law: Any = "lambert") -> None:
    """Measure and print the rows of one set."""
    rng = np.random.default_rng(0)
    moved_errors, truth_errors, ratios, coarse_errors, correlations = [], [], [], [], []
    darks, opposite_taken, refused, seconds, scatters, shifts, wrongs = [], 0, [], 0.0, [], [], []
    names = sorted(site.suns)[::step]
    for name in names:
        sun, opposite = site.suns[name]
        image, (rendering, share) = site.image(name), render(site.dem, site.pixel_m, site.inner, sun, law)
        valid = np.isfinite(image)
        start = time.perf_counter()
        dark = dark_level(image, valid, share)
        match = register(image, valid, dark.level, rendering, SEARCH_PX)
        seconds += time.perf_counter() - start
        move = rng.uniform(-5, 5, 2)
        if reason := plausible(match):
            refused.append(f"  {name} ({100 * np.mean(rendering[valid] > 0):.1f} % lit): {reason}")
            continue
        other = render(site.dem, site.pixel_m, site.inner, opposite, law)[0]
        wrong = register(image, valid, dark.level, other, SEARCH_PX)
        wrongs.append(wrong.correlation_after)
        # Would the image be accepted with the opposite Sun?
        opposite_taken += plausible(wrong, match) is None
        if reason := plausible(match, wrong):
            refused.append(f"  {name}: {reason}")
            continue
        again = site.image(name, *move)
        second = register(again, np.isfinite(again), dark.level, rendering, SEARCH_PX)
        moved_errors.append(float(np.hypot(*(shift(second) - shift(match) - move))))
        coarse = parabola(again, rendering) - parabola(image, rendering) - move
        coarse_errors.append(float(np.hypot(*coarse)))
        ground = render(site.truth, site.pixel_m, site.inner, sun, law)[0]
        true = register(image, valid, dark.level, ground, SEARCH_PX)
        if plausible(true) is None:
            truth_errors.append(float(np.hypot(*(shift(match) - shift(true)))))
            ratios.extend((shift(match) - shift(true)) / sigma(match))
            shifts.append(shift(true))
        correlations.append(match.correlation_after)
        try:
            ratio = exposure(image, valid, dark.level, rendering)
            scatters.append(ratio.scatter)
            darks.append(dark.level / (ratio.scale * np.median(rendering[valid & (rendering > 0)])))
        except ValueError:
            pass
    print(f"{site.folder.name}, {law}: {len(moved_errors)} of {len(names)} images used")
    print("\n".join(refused))
    print(f"  known displacement, error, px      p50 / p85 / max  {percentiles(moved_errors)}")
    print(f"  the same, only by a parabola, px   p50 / p85 / max  {percentiles(coarse_errors)}")
    print(f"  against the true ground, px        p50 / p85 / max  {percentiles(truth_errors)}")
    print(f"  (d - d_true) / sigma               rms {np.sqrt(np.mean(np.square(ratios))):.2f}")
    print(f"  shifts on the true ground, px      median {np.median(shifts, 0)}, sd {np.std(shifts, 0)}")
    print(
        f"  correlation                        p50 {np.median(correlations):.3f}, "
        f"least {min(correlations):.3f}"
    )
    print(f"  correlation, opposite Sun          p50 / p85 / max  {percentiles(wrongs)}")
    print(f"  accepted with the opposite Sun     {opposite_taken}")
    print(f"  dark level over lit median         p50 / p85 / max  {percentiles(darks)}")
    print(f"  exposure: scatter                  p50 / p85 / max  {percentiles(scatters)}")
    print(f"  dark level and registration        {seconds / len(names):.2f} s per image", flush=True)


def apollo15(folder: Path, pixel_m: float = 30.0) -> tuple[Match, Match]:
    """The real image over the DTM, under its own Sun and the opposite one, on a grid of square pixels."""
    dtm = folder / "USGS_A15_Q111_LRO_NAC_DEM_26N004E_150cmp.30mpp.tif"
    with rasterio.open(dtm) as source:
        bounds, crs = source.bounds, source.crs
    height, width = (
        int(side // pixel_m) for side in (bounds.top - bounds.bottom, bounds.right - bounds.left)
    )
    transform = Affine(pixel_m, 0, bounds.left, 0, -pixel_m, bounds.top)
    dem = warp(dtm, transform, (height, width), crs)
    # The file's CRS describes the same sphere differently.
    image = warp(folder / "M111578606RE.10mpp.tif", transform, (height, width), crs)
    known = np.isfinite(dem)
    whole = np.where(known, dem, np.nanmean(dem))
    found = []
    for azimuth in (132.0, 312.0):
        sun = vectors(np.array([azimuth]), np.array([52.0]))[0]
        light = radiance(whole, pixel_m, sun[None], None, PhotometrySection(law="lunar_lambert"))[0]
        light = np.where(known, light, np.nan)
        found.append(register(image, np.isfinite(image), 0.0, light, 500 / pixel_m))
    return found[0], found[1]


def dark_at_84s(folder: Path) -> tuple[DarkLevel, DarkLevel, float]:
    """Dark level of the real image inside the shadows of its DEM, inside its own, and its lit median.

    The DEM is interpolated and 1 km wide: it predicts hardly any of the shadows in the image.
    """
    image_path = folder / "M1225822680LE_map.tif"
    with rasterio.open(image_path) as source:
        transform, shape, crs = source.transform, source.shape, source.crs
    image = warp(image_path, transform, shape, crs)
    with rasterio.open(folder / "dem_1m_84S59E.tif") as source:
        grid, size = source.transform, (source.height // 2, source.width // 2)
    coarse = Affine(2, 0, grid.c, 0, -2, grid.f)
    dem = warp(folder / "dem_1m_84S59E.tif", coarse, size, crs)
    left, top = round((transform.c - coarse.c) / 2), round((coarse.f - transform.f) / 2)
    padded = np.pad(np.where(np.isfinite(dem), dem, np.nanmean(dem)), 8, mode="edge")
    place = Place(59.1, -84.1, 59.1, -1)
    azimuth, elevation = sun_vector(place.lon, place.lat, 41.93, -0.61)
    sun = map_vectors(azimuth, elevation, place)
    share = render(padded, 2.0, (top + 8, left + 8, *shape), sun)[1]
    valid = np.isfinite(image)
    lit = float(np.median(image[valid]))
    own = np.where(valid & (image < 0.4 * lit), 0.0, 1.0)
    return dark_level(image, valid, share), dark_level(image, valid, own), lit


def main() -> None:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    step = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    match, wrong = apollo15(data / "nac_dtm_a15")
    for name, found in (("its Sun", match), ("the opposite Sun", wrong)):
        east, north = 30.0 * shift(found)
        print(
            f"Apollo 15, {name}: image {-east:.0f} m west, {north:.0f} m north of the DTM, sigma "
            f"{30 * found.sigma_right_px:.0f} and {30 * found.sigma_up_px:.0f} m, correlation "
            f"{found.correlation_before:.3f} -> {found.correlation_after:.3f}, blocks "
            f"{found.residual_p50_px:.2f} / {found.residual_p85_px:.2f} px"
        )
    print(f"Apollo 15: {plausible(match, wrong) or 'taken'}; opposite: {plausible(wrong, match)}")
    predicted, own, lit = dark_at_84s(data / "nac")
    for where, dark in (("the DEM's shadows", predicted), ("its own shadows", own)):
        print(
            f"84 S: {where}: {dark.count} pixels, dark level {100 * dark.level / lit:.1f} % of lit",
            flush=True,
        )
    for name in SETS:
        measure(read_challenge(data / "challenge" / name), step)


if __name__ == "__main__":
    main()
