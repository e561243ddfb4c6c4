"""Writing a reconstructed region: GeoTIFFs, scores and a picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.illumination.directions import azimuth_elevation
from pipeline.region.ground import centre_of
from pipeline.region.picture import write_quicklook
from pipeline.region.products import Band, write_geotiff
from pipeline.region.reconstruction import Reconstruction
from pipeline.region.scores import patch_scores, std_scores, whole_scores
from pipeline.region.source import WindowImages
from pipeline.storage.atomic import write_json

logger = logging.getLogger(__name__)

# Images in images.tif.
_SAMPLE_IMAGES = 8


def write_outputs(outputs: Mapping[str, str], done: Reconstruction) -> None:
    """Write all products; ``clones`` only if a path is given for it, ``truth`` only if it is known.

    Parameters
    ----------
    outputs : paths of ``mean``, ``std``, ``prior``, ``images``, ``metrics``, ``quicklook``, of ``truth`` if
        it is known and, optionally, of ``clones``.
    done : the finished region.
    """
    grid, mosaic, truth = done.apriori.grid, done.mosaic, done.truth
    mean, std = mosaic.mean(), mosaic.std()
    maps = {
        "mean": Band(mean, "height, mean of the clones", "m"),
        "std": Band(std, "standard deviation of the clones and of overlapping windows", "m"),
        "prior": Band(done.apriori.prior, "height, a priori DEM (block means, bicubic)", "m"),
    }
    if truth is not None:
        maps["truth"] = Band(truth, "height, true DEM", "m")
    for name, band in maps.items():
        write_geotiff(outputs[name], grid, [band], done.tags)
    if "clones" in outputs:
        bands = [Band(c, f"height, clone {i + 1}", "m") for i, c in enumerate(mosaic.clones)]
        write_geotiff(outputs["clones"], grid, bands, done.tags)
    size = grid.height
    picked = np.unique(np.linspace(0, done.images.count - 1, _SAMPLE_IMAGES).round().astype(int)).tolist()
    sample = done.images.read(0, size, 0, size, only=picked)
    write_geotiff(outputs["images"], grid, _image_bands(sample, picked), done.tags)
    scores = _metrics(done, mean, std)
    write_json(outputs["metrics"], scores)
    write_quicklook(outputs["quicklook"], done, scores, sample)
    if whole := scores.get("region"):
        logger.info(
            "region: RMSE %.2f m (bicubic %.2f m), slope error %.2f deg (bicubic %.2f deg)",
            whole["mean"]["rmse_m"], whole["bicubic"]["rmse_m"],
            whole["mean"]["slope_deg"], whole["bicubic"]["slope_deg"],
        )  # fmt: skip


def _image_bands(sample: WindowImages, picked: list[int]) -> list[Band]:
    azimuth, elevation = azimuth_elevation(sample.sun.numpy())
    bands = []
    for i, number in enumerate(picked):
        values = np.where(sample.valid[i].numpy(), sample.images[i].numpy(), np.nan)
        text = f"image {number}, Sun azimuth {azimuth[i]:.2f} deg, elevation {elevation[i]:.2f} deg"
        tags = {
            "SUN_AZIMUTH_DEG": f"{azimuth[i]:.4f}",
            "SUN_ELEVATION_DEG": f"{elevation[i]:.4f}",
            "AZIMUTH_FRAME": "clockwise from map up (+y) towards map right (+x)",
            "QUANTITY": "radiance factor I/F",
        }
        bands.append(Band(values, text, "1", tags))
    return bands


def _metrics(done: Reconstruction, mean: NDArray[np.float64], std: NDArray[np.float64]) -> dict[str, Any]:
    section, origin, truth, grid = done.section, done.origin, done.truth, done.apriori.grid
    clones, prior, seed = done.mosaic.clones, done.apriori.prior, section.seed
    middle = (grid.height - 1) / 2
    x, y = (float(v) for v in grid.xy(middle, middle))
    place = centre_of(grid)
    centre = {"center_m": [x, y], "lon": place.lon, "lat": place.lat}
    per_window = np.array(done.images_per_window)
    ends = {"least": int(per_window.min()), "most": int(per_window.max())}
    scores: dict[str, Any] = {
        "schema": "region/1",
        "model_fingerprint": origin.fingerprint,
        "key": origin.key,
        "place": {"size_px": grid.height, "pixel_m": grid.pixel_m, **centre},
        "windows": {"count": len(per_window), "size_px": done.size_px, "stride_px": section.stride_px},
        "members": section.members,
        "nfe": done.sampler.nfe,
        "images": {
            "count": done.images.count,
            "per_window": {**ends, "median": float(np.median(per_window))},
            "windows_without": int((per_window == 0).sum()),
            "pixels_without_share": float(np.mean(done.images_per_pixel == 0)),
        },
        "std": std_scores(mean, std, None if truth is None else truth.astype(np.float64), section.members),
    }
    if origin.place is not None:
        scores["place"] |= {"site": origin.site, "row": origin.place.row, "col": origin.place.col}
    if truth is not None:
        scores["region"] = whole_scores(truth, prior, clones, grid.pixel_m, seed)
    if origin.patches is not None:
        test, size = origin.patches["test"], done.size_px
        share = len(test) * size**2 / grid.height**2
        counts = {"test": len(test), "train": len(origin.patches["train"])}
        scores["test_patches"] = {**counts, "test_share": share}
        if truth is not None and len(test):
            within = patch_scores(truth, prior, clones, test, size, grid.pixel_m, seed)
            scores["test_patches"]["scores"] = within
    return scores
