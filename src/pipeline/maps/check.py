"""Stage ``map_check``: does the map explain withheld images better than the a priori DEM does?

The map and the a priori DEM are rendered under the Suns of the withheld images and compared with them, block
by block: the absolute misfit, with each image's own gain, summed over the images. Where a fine DEM has a
count map, altimeter hits decide instead: the map must be no farther from withheld strips of hits than a
spline of the other hits. Blocks are marked where the map is no better, where no image lights the ground, and
where the variance of the clones exceeds that of the a priori DEM.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.config.stages.maps import CheckStage
from pipeline.jobs.progress import progress
from pipeline.maps.apriori_error import Altimetry, apriori_sigma, withheld_altimetry
from pipeline.maps.blend import Clones
from pipeline.maps.blocks import BLOCK_PX, block_grid, by_block
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import LIT_SHARE, PreparedImage, light_of, read_prepared
from pipeline.maps.render import Rendering, Scene
from pipeline.region.source import one_file
from pipeline.storage.atomic import write_json
from pipeline.storage.store import StoreWriter

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

SCHEMA = "check/1"
# Least number of lit pixels of withheld images, or of hits, for the comparison of a block.
_LEAST_LIT, _LEAST_HITS = 400, 30
# Images must light this share of a block, otherwise the a priori DEM is used there.
_LIT_BLOCK = 0.05
# Sums are smoothed over neighbouring blocks, sigma in blocks: a block's own evidence is noisy.
_NEIGHBOURS = 0.7
# Scale of the transition from the map to the a priori DEM, pixels.
_TAPER_PX = 4.0


@dataclass(frozen=True)
class Evidence:
    """Sums of absolute misfits by block, (rows, cols) each; a block without a comparison has weight 0.

    Attributes
    ----------
    map, prior : of the map and of the a priori DEM. weight : number of pixels that were compared.
    """

    map: Floats
    prior: Floats
    weight: Floats

    def ratio(self) -> float:
        """Misfit of the map over that of the a priori DEM, everywhere; NaN where nothing was compared."""
        return float(self.map.sum() / self.prior.sum()) if self.prior.sum() > 0 else float("nan")


def check_map(section: CheckStage, inputs: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Compare a map with withheld data, and decide where the a priori DEM replaces it.

    Parameters
    ----------
    section : of the stage. inputs : ``ground``; lists ``images`` and ``clones`` of stores.
    outputs : ``check`` (JSON of schema ``check/1``) and ``fallback`` (store of schema ``fallback/1``).
    """
    ground = SiteGround.load(one_file(inputs["ground"]))
    grid = ground.layout.grid
    seen = read_prepared(inputs["images"], "map")
    withheld = read_prepared(inputs["images"], "check")
    clones = Clones(inputs["clones"], ground, section.map, section.map.members)
    mean, variance = moments_of(clones)
    lit, _ = light_of(seen, grid)
    altimetry = withheld_altimetry(ground)
    images, table = compare(withheld, ground, mean, section)
    hits = compare_hits(altimetry, mean) if altimetry is not None else None
    sigma = apriori_sigma(ground, altimetry)
    whole = (0, mean.shape[0], 0, mean.shape[1])
    ours = by_block(variance, whole, mean.shape)
    theirs = by_block(sigma.astype(np.float64) ** 2, whole, mean.shape)
    marked, checked = judge(images, hits, lit, ours >= theirs)
    spread_ratio = np.sqrt(np.divide(ours, theirs, out=np.full_like(ours, np.nan), where=theirs > 0))
    verdict = _verdict(images, hits, len(seen), len(withheld), marked)
    share = np.zeros(mean.shape) if section.map.fallback == "none" else spread(marked, mean.shape)
    logger.info("check: %s", verdict)
    with StoreWriter(outputs["fallback"], "fallback", {"verdict": verdict}) as store:
        store.write("share", share.astype(np.float32), ("y", "x"), (512, 512), compress=True)
        store.write("sigma", sigma, ("y", "x"), (512, 512), compress=True)
    rows = {
        "schema": SCHEMA, "verdict": verdict, "fallback": section.map.fallback,
        "images_seen": len(seen), "images_withheld": len(withheld), "images": table,
        "misfit_ratio_images": _number(images.ratio()),
        "misfit_ratio_altimetry": None if hits is None else _number(hits.ratio()),
        "blocks": {
            "size_px": BLOCK_PX, "rows": marked.shape[0], "cols": marked.shape[1],
            "marked": marked.astype(int).tolist(), "checked": checked.astype(int).tolist(),
            "ratio_images": _ratios(images),
            "ratio_altimetry": None if hits is None else _ratios(hits),
            "ratio_spread": [[_number(value) for value in row] for row in spread_ratio.tolist()],
        },
    }  # fmt: skip
    write_json(outputs["check"], rows)


def compare(
    withheld: Sequence[PreparedImage], ground: SiteGround, mean: Floats, section: CheckStage
) -> tuple[Evidence, list[dict[str, Any]]]:
    """Misfits of renderings to withheld images.

    Returns
    -------
    Sums by block, and one row per image for ``check.json``.
    """
    shape, m = mean.shape, ground.margin_px
    grid = ground.layout.grid
    surface = ground.surface.copy()
    inner = np.s_[m : m + shape[0], m : m + shape[1]]
    if ground.layout.exact_cells:
        # The a priori DEM as the fallback uses it, with the means of the cells.
        surface[inner] = np.where(np.isfinite(surface[inner]), ground.dem, np.nan)
    prior = Scene(surface.copy(), m, grid, section.photometry, ground.far)
    surface[inner] = np.where(np.isfinite(surface[inner]), mean, np.nan)
    ours = Scene(surface, m, grid, section.photometry, ground.far)
    sums = np.zeros((3, *block_grid(shape)))
    table = []
    for image in progress(withheld, len(withheld), "map: withheld images compared"):
        row0, row1, col0, col1 = image.box
        picture = image.read(slice(row0, row1), slice(col0, col1)).astype(np.float64)
        errors, used = [], None
        for scene in (ours, prior):
            error, known = misfit(picture, scene.render(image.sun, image.box), image.level)
            errors.append(error)
            used = known if used is None else used & known
        assert used is not None
        parts = [np.where(used, error, 0.0) for error in errors] + [used.astype(np.float64)]
        for k, part in enumerate(parts):
            sums[k] += by_block(part, image.box, shape)
        total = [float(part.sum()) for part in parts]
        ratio = total[0] / total[1] if total[1] > 0 else None
        table.append({"path": image.path, "pixels": int(total[2]), "misfit_ratio": _number(ratio)})
    return Evidence(*sums), table


def misfit(picture: Floats, rendering: Rendering, level: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Absolute difference of an image and a rendering, over the image's level, and the pixels that count.

    The difference is not squared: the brightest slopes and the edges of shadows would dominate. The
    rendering's gain is the least-squares fit over all pixels with data. Pixels that are dark in both do not
    count.

    Parameters
    ----------
    picture : (rows, cols) radiance, NaN without data. rendering : of the same box. level : the image's median
        lit radiance.
    """
    model = rendering.radiance.astype(np.float64)
    known = np.isfinite(picture) & np.isfinite(model)
    image = np.where(known, picture, 0.0)
    shaded = np.where(known, model, 0.0)
    power = float((shaded**2).sum())
    gain = float((image * shaded).sum()) / power if power > 0 else 0.0
    scale = level if level > 0 else 1.0
    error = np.abs(image - gain * shaded) / scale
    # Pixels that are dark in both carry no information.
    return error, known & ((image > LIT_SHARE * scale) | (gain * shaded > LIT_SHARE * scale))


def compare_hits(altimetry: Altimetry, mean: Floats) -> Evidence:
    """Distances of withheld altimeter hits from the map and from a spline of the other hits, by block.

    Parameters
    ----------
    altimetry : the withheld hits. mean : (H, W) heights of the map, metres.

    Returns
    -------
    Sums of the absolute distances, metres, and the number of hits, (rows, cols) of blocks each.
    """
    shape = block_grid(mean.shape)
    block = altimetry.rows // BLOCK_PX * shape[1] + altimetry.cols // BLOCK_PX
    sums = []
    ours = np.abs(mean[altimetry.rows, altimetry.cols] - altimetry.heights)
    theirs = np.abs(altimetry.spline - altimetry.heights)
    for values in (ours, theirs, np.ones(len(ours))):
        sums.append(np.bincount(block, values, shape[0] * shape[1]).reshape(shape).astype(np.float64))
    return Evidence(*sums)


def judge(
    images: Evidence, hits: Evidence | None, lit: NDArray[np.int32], unsure: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Blocks where the a priori DEM replaces the map, and blocks with a comparison.

    Altimetry decides where there are enough hits, images elsewhere; a block without a comparison follows the
    ratio over the whole map. The a priori DEM also replaces the map where no image lights the ground and
    where the clones vary by more than its own uncertainty (`unsure`).

    Parameters
    ----------
    images, hits : misfits of withheld images, and of withheld altimetry or None; (rows, cols) of blocks.
    lit : (H, W) number of images that light each pixel. unsure : (rows, cols) of blocks.

    Returns
    -------
    (rows, cols) bool each: blocks where the a priori DEM is used, and blocks that were compared.
    """
    shape = images.weight.shape
    worse, checked = _no_better(images, _LEAST_LIT)
    if hits is not None:
        by_hits, known = _no_better(hits, _LEAST_HITS)
        worse, checked = np.where(known, by_hits, worse), checked | known
    overall = hits.ratio() if hits is not None else images.ratio()
    # NaN where nothing was compared at all: the map is then kept.
    worse = np.where(checked, worse, overall >= 1)
    light = by_block((lit > 0).astype(np.float64), (0, lit.shape[0], 0, lit.shape[1]), lit.shape)
    area = by_block(np.ones(lit.shape), (0, lit.shape[0], 0, lit.shape[1]), lit.shape)
    marked: NDArray[np.bool_] = worse.astype(bool) | (light < _LIT_BLOCK * area) | unsure
    return marked.reshape(shape), checked


def _no_better(evidence: Evidence, least: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Blocks whose smoothed misfit is no smaller with the map, and blocks with enough evidence."""
    ours, theirs, weight = (
        ndimage.gaussian_filter(part, _NEIGHBOURS, mode="constant")
        for part in (evidence.map, evidence.prior, evidence.weight)
    )
    return ours >= theirs, weight >= least


def spread(marked: NDArray[np.bool_], shape: tuple[int, ...]) -> Floats:
    """Weight of the a priori DEM at each pixel of `shape`: 1 in marked blocks, falling to 0 around them."""
    whole = marked.repeat(BLOCK_PX, axis=0).repeat(BLOCK_PX, axis=1)[: shape[0], : shape[1]]
    away = ndimage.distance_transform_edt(~whole) if whole.any() else np.full(shape, np.inf)
    return np.clip(1 - away / (2 * _TAPER_PX), 0, 1)


def moments_of(clones: Clones) -> tuple[Floats, Floats]:
    """Mean, metres, and variance (ddof 1; 0 of a single clone) of all clones, (H, W) each."""
    means, variances = [], []
    ddof = min(1, clones.members - 1)
    for top in range(0, clones.rows, clones.band_rows):
        drawn = clones.band(top, min(top + clones.band_rows, clones.rows)).clones
        means.append(drawn.mean(axis=0))
        variances.append(drawn.var(axis=0, ddof=ddof))
    return np.concatenate(means), np.concatenate(variances)


def _verdict(
    images: Evidence, hits: Evidence | None, seen: int, withheld: int, marked: NDArray[np.bool_]
) -> str:
    share = f"{marked.mean():.0%} of the map"
    if not seen:
        return "no images: the map is the a priori DEM"
    if hits is not None and np.isfinite(hits.ratio()):
        word = "nearer to" if hits.ratio() < 1 else "no nearer to"
        told = f"the map is {word} withheld altimetry than a spline of the rest (ratio {hits.ratio():.2f})"
    elif withheld and np.isfinite(images.ratio()):
        word = "better" if images.ratio() < 1 else "no better"
        told = (
            f"the map explains {withheld} withheld images {word} than the a priori DEM (ratio of misfits "
            f"{images.ratio():.2f})"
        )
    else:
        return (
            f"not checked: too few images to withhold some; {share} that no image lights is the a priori DEM"
        )
    return f"{told}; {share} is the a priori DEM"


def _ratios(evidence: Evidence) -> list[list[float | None]]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = evidence.map / evidence.prior
    return [[_number(value) for value in row] for row in ratio.tolist()]


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
