"""Stages ``scenes`` and ``scenes_test``: image sets of each patch, rendered under realistic light and stored.

They are stored, not rendered when a sample is read: an image of 96 x 96 pixels costs 2.6 to 4.0 ms on one
core (`benchmarks/scenes.py`, Suns drawn again included), a training step reads hundreds of images, and stored
ones are memory-mapped.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.photometry import HapkeSection, PhotometrySection
from pipeline.config.scenes import RenderedScenes
from pipeline.config.stages.light import ScenesStage
from pipeline.illumination.expected import expected_light
from pipeline.illumination.far import FarTerrain
from pipeline.illumination.fine import FineGround, SlopeTables
from pipeline.illumination.place import Place, patch_places
from pipeline.illumination.seasons import Seasons
from pipeline.illumination.surface import Window
from pipeline.illumination.trace import far_dem, in_order
from pipeline.jobs.progress import progress
from pipeline.storage.atomic import read_json
from pipeline.storage.store import StoreWriter, read_store

logger = logging.getLogger(__name__)

# Keeps this stage's random numbers apart from those of other stages with the same seed.
SCENES_PURPOSE = 0x5343

_REDRAWN = 4
_MOST_PX = 2.0


@dataclass(frozen=True)
class PatchScenes:
    """Image sets of one patch, one set after the other.

    Attributes
    ----------
    sun : ``(N, 3)`` vectors towards the Sun, map frame.
    shift : ``(N, 2)`` displacement of each image downwards and to the right, pixels.
    relief : ``(N,)`` factor on the patch's heights, the same for all images of a set.
    radiance : ``(N, P, P)`` radiance factors, means over each pixel's area.
    expected : ``(N, P, ceil(P / 8))`` packed bits, whether the whole Sun is expected to be visible; see
        `pipeline.illumination.expected`.
    """

    sun: NDArray[np.float32]
    shift: NDArray[np.float32]
    relief: NDArray[np.float32]
    radiance: NDArray[np.float16]
    expected: NDArray[np.uint8]


def render_patch(
    dem: NDArray[np.float32],
    pixel_m: float,
    inner: Window,
    patch_id: int,
    place: Place,
    section: RenderedScenes,
    far: FarTerrain | None = None,
    factor: int = 16,
) -> PatchScenes:
    """Render the image sets of one patch.

    Parameters
    ----------
    dem : ``(Y, X)`` elevations of the patch and its halo, m; NaN outside the data.
    pixel_m : pixel size, m.
    inner : ``(top, left, height, width)`` of the patch in `dem`.
    patch_id : seeds the draws, together with the section's seed.
    place : of the patch.
    section : ranges of the draws.
    far : coarser terrain around `dem` that casts shadows, or None.
    factor : pixels per side of a block of the a priori DEM, which divides the patch and its halo.

    Returns
    -------
    PatchScenes
        With N = ``section.sets`` x ``section.images`` images.

    Raises
    ------
    ValueError
        If the Sun hardly ever stands within the elevations at the place.
    """
    rng = np.random.default_rng([section.seed, SCENES_PURPOSE, patch_id])
    grounds: dict[float, FineGround] = {}
    made = []
    for _ in range(section.sets):
        relief = draw_relief(section, rng)
        scaled, beyond = dem * np.float32(relief), far and replace(far, z=far.z * relief)
        if relief not in grounds:
            grounds[relief] = FineGround(scaled, pixel_m, inner, section.mesh, section.curvature, beyond)
        sun, shift, light = _render_set(grounds[relief], place, section, rng)
        clear = expected_light(
            scaled, pixel_m, inner, factor, sun, section.disc_deg, section.curvature, beyond
        )
        made.append((sun, shift, np.full(len(sun), relief, np.float32), light, np.packbits(clear, axis=-1)))
    return PatchScenes(*(np.concatenate(parts) for parts in zip(*made, strict=True)))


def draw_relief(section: RenderedScenes, rng: np.random.Generator) -> float:
    """Draw a set's factor on the heights: log-uniform in a fraction `section.gentle` of the sets, else 1."""
    chance, depth = rng.random(2)
    low, high = np.log(section.relief.low), np.log(section.relief.high)
    return float(np.exp(low + depth * (high - low))) if chance < section.gentle else 1.0


def _render_set(
    ground: FineGround, place: Place, section: RenderedScenes, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float16]]:
    """Suns, shifts and radiance factors of one set."""
    laws = draw_law(section, rng)
    shift = draw_shifts(section, rng)
    seasons = Seasons(section.suns, place, rng)
    # Rounded before rendering, so that the stored vectors are exactly those rendered.
    sun = seasons.draw(section.images).astype(np.float32)
    horizon = ground.horizons(sun, section.disc_deg)
    lit = ground.lit(sun, horizon)
    for _ in range(_REDRAWN):
        dark = np.flatnonzero(lit < section.lit)
        if not len(dark):
            break
        other = seasons.draw(len(dark)).astype(np.float32)
        of_other = ground.horizons(other, section.disc_deg)
        lit_by_other = ground.lit(other, of_other)
        more = lit_by_other > lit[dark]
        chosen = dark[more]
        sun[chosen], horizon[chosen], lit[chosen] = other[more], of_other[more], lit_by_other[more]
    tables = SlopeTables(sun, ground.steepest, laws)
    return sun, shift, ground.render(sun, horizon, tables, shift, section.disc_deg).astype(np.float16)


def draw_law(section: RenderedScenes, rng: np.random.Generator) -> list[tuple[float, PhotometrySection]]:
    """Draw a set's reflectance law, a weighted sum: pairs (weight, law).

    ``lunar_lambert`` is linear in its coefficient L: a factor f on L gives f times that law plus 1 - f times
    Lambert's.
    """
    name = str(rng.choice(section.laws))
    theta, limb = (rng.uniform(span.low, span.high) for span in (section.theta_deg, section.limb))
    law = PhotometrySection(law=name, hapke=HapkeSection(theta_deg=theta))
    if name != "lunar_lambert":
        return [(1.0, law)]
    return [(limb, law), (1.0 - limb, PhotometrySection(law="lambert"))]


def draw_shifts(section: RenderedScenes, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the shifts of a set's images, down and right, pixels ``(images, 2)``.

    Each is the sum of the image's own shift and of one that all images share, both at most 2 pixels per axis.
    """
    own = rng.normal(0.0, 1.0, (section.images, 2)) * rng.uniform(0.0, section.shift_px)
    common = rng.normal(0.0, 1.0, 2) * section.common_px
    clipped = (np.clip(part, -_MOST_PX, _MOST_PX) for part in (own, common))
    return np.asarray(sum(clipped), dtype=np.float32)


def render_tile(
    patch_store: Path,
    split_json: Path,
    stage: ScenesStage,
    out: Path,
    workers: int = 1,
    far_store: Path | None = None,
) -> None:
    """Write the image sets of a tile's patches of the stage's splits.

    Patches keep their order in the patch store. A patch's images depend neither on the number of workers nor
    on other patches. At most two patches per worker are in memory. Workers are threads: tracing and rendering
    release the interpreter's lock.

    Parameters
    ----------
    patch_store : store of schema ``patches``.
    split_json : file of schema ``split/1``.
    stage : settings of the draws and the rendering.
    out : store of schema ``scenes`` to make; empty where there are no such patches.
    workers : threads.
    far_store : store of schema ``far``; needed where `stage.far_m` is above 0.

    Raises
    ------
    ValueError
        If the store's patches are of another size or hold less halo than expected, the far terrain is not as
        expected, or the Sun hardly ever stands within the elevations at a patch's place.
    """
    patches = read_store(patch_store, schema="patches")
    stored_halo, pixel_m = int(patches.attrs["halo_px"]), float(patches.attrs["pixel_m"])
    size, halo, section = stage.size_px, stage.halo_px, stage.scenes
    if int(patches.attrs["size_px"]) != size:
        raise ValueError(f"{patch_store}: expected patches of {size} px, found {patches.attrs['size_px']}")
    if halo > stored_halo:
        raise ValueError(f"{patch_store}: expected a halo of at least {halo} px, found {stored_halo}")
    assigned = read_json(split_json, "split/1")["patches"]
    ids = np.asarray(patches["id"].values)
    rows = [row for row, patch_id in enumerate(ids) if assigned.get(str(patch_id)) in stage.splits]
    places, inner = patch_places(patches), (halo, halo, size, size)
    crop = slice(stored_halo - halo, stored_halo + size + halo)
    far = far_dem(far_store, size, pixel_m, stage) if stage.far_m > 0 else None
    table = {} if far is None else {name: patches[name].values for name in ("site", "row", "col")}

    def load(row: int) -> tuple[NDArray[np.float32], int, Place, FarTerrain | None]:
        around = None
        if far is not None:
            site, top, left = (int(table[name][row]) for name in ("site", "row", "col"))
            around = far.around(site, top, left, size, halo, stage.far_m)
        return patches["dem"][row, crop, crop], int(ids[row]), places[row], around

    def work(dem: NDArray[np.float32], patch_id: int, place: Place, around: FarTerrain | None) -> PatchScenes:
        return render_patch(dem, pixel_m, inner, patch_id, place, section, around, stage.factor)

    images = section.sets * section.images
    attrs: dict[str, Any] = {
        "pixel_m": pixel_m, "size_px": size, "sets": section.sets, "mesh": section.mesh,
        "disc_deg": section.disc_deg,
    }  # fmt: skip
    logger.info("rendering %d images of each of %d patches", images, len(rows))
    with StoreWriter(out, schema="scenes", attrs=attrs) as writer:
        writer.write("id", ids[rows].astype(np.int64), dims=("patch",))
        shape, dims = (len(rows), images, size, size), ("patch", "image", "y", "x")
        about = {"units": "1", "long_name": "radiance factor I/F"}
        radiance = writer.create("radiance", shape, np.float16, dims, (1, *shape[1:]), about)
        bits = (len(rows), images, size, -(-size // 8))
        expected = writer.create("expected", bits, np.uint8, (*dims[:3], "xbyte"), (1, *bits[1:]))
        suns, shifts = (np.zeros((len(rows), images, n), np.float32) for n in (3, 2))
        reliefs = np.ones((len(rows), images), np.float32)
        results = in_order(work, (load(row) for row in rows), workers)
        for number, made in enumerate(progress(results, len(rows), "scenes")):
            radiance[number], expected[number] = made.radiance, made.expected
            suns[number], shifts[number], reliefs[number] = made.sun, made.shift, made.relief
        writer.write("sun", suns, ("patch", "image", "vector"))
        writer.write("shift", shifts, ("patch", "image", "axis"))
        writer.write("relief", reliefs, ("patch", "image"))
        numbers = np.arange(section.sets, dtype=np.uint8).repeat(section.images)
        writer.write("set", np.tile(numbers, (len(rows), 1)), ("patch", "image"))
