"""Stage ``visibility``: pixels of every kept patch that see the Sun, for the fixed and Fibonacci directions.

Visibility is the expensive part of illumination, so it is stored (one bit per pixel, packed along x);
radiance is computed whenever an image is read.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.illumination.directions import fibonacci_directions, fixed_directions
from pipeline.illumination.far import FarDem, FarTerrain
from pipeline.jobs.progress import progress
from pipeline.storage.atomic import read_json
from pipeline.storage.store import StoreWriter, read_store

if TYPE_CHECKING:
    from pipeline.config.illumination import IlluminationSection
    from pipeline.config.stages.light import ScenesStage
    from pipeline.illumination.surface import Window
    from pipeline.illumination.visibility import Visibility

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Keeps this stage's random numbers apart from those of other stages with the same seed.
JITTER_PURPOSE = 0x4A49


def make_engine(name: str) -> type[Visibility]:
    """The class that computes visibility: ``engine(dem, pixel_m, inner, curvature, far)``.

    Parameters
    ----------
    name : ``embree`` (the reference) or ``horizon``.

    Raises
    ------
    ValueError
        If there is no such engine.
    """
    if name == "embree":
        from pipeline.illumination.embree import EmbreeVisibility

        return EmbreeVisibility
    if name == "horizon":
        from pipeline.illumination.horizon import HorizonVisibility

        return HorizonVisibility
    raise ValueError(f"illumination.engine: expected 'embree' or 'horizon', found {name!r}")


@dataclass(frozen=True)
class PatchLight:
    """Visibility of one patch under the fixed and, after them, its F Fibonacci directions.

    Attributes
    ----------
    values : ``(360 + F, P, ceil(P / 8))`` packed bits, or ``(360 + F, P, P)`` shares x 255.
    sun : ``(F, 3)`` vectors of the Fibonacci directions. present : ``(F,)``, False below the horizon.
    """

    values: NDArray[np.uint8]
    sun: NDArray[np.float32]
    present: NDArray[np.bool_]


def trace_patch(
    dem: NDArray[np.float32],
    pixel_m: float,
    inner: Window,
    patch_id: int,
    section: IlluminationSection,
    far: FarTerrain | None = None,
) -> PatchLight:
    """Visibility of one patch under the fixed and its own Fibonacci directions.

    Parameters
    ----------
    dem : ``(Y, X)`` elevations of the patch and its halo, m; NaN outside the data.
    pixel_m : pixel size, m.
    inner : ``(top, left, height, width)`` of the patch in `dem`.
    patch_id : seeds the jitter, together with the section's seed.
    section : engine, Sun and direction settings.
    far : coarser terrain around `dem` that casts shadows, or None.

    Returns
    -------
    PatchLight
        Values of shape ``(360 + F, P, ceil(P / 8))`` for a point Sun, ``(360 + F, P, P)`` for a disc;
        rows of absent directions are 0.
    """
    rng = np.random.default_rng([section.seed, JITTER_PURPOSE, patch_id])
    exact, present = fibonacci_directions(section.fibonacci, section.jitter_deg, rng, section.azimuth)
    # Rounded before tracing, so that the stored vectors are exactly those traced.
    fibonacci = exact.astype(np.float32)
    fixed = fixed_directions(section.azimuth).astype(np.float32)
    shown = np.concatenate([np.ones(len(fixed), dtype=bool), present])
    # One call, so that an engine prepares the terrain once.
    sun = np.concatenate([fixed, fibonacci])
    visibility = make_engine(section.engine)(dem, pixel_m, inner, section.curvature, far)
    if section.sun == "point":
        some = np.packbits(visibility.lit(sun[shown]), axis=-1)
    else:
        share = visibility.share(sun[shown], section.disc_deg, section.limb_darkening)
        some = np.rint(share * 255).astype(np.uint8)
    values = np.zeros((len(sun), *some.shape[1:]), dtype=np.uint8)
    values[shown] = some
    return PatchLight(values, fibonacci, present)


def trace_tile(
    patch_store: Path,
    selected_json: Path,
    size_px: int,
    illumination: IlluminationSection,
    out: Path,
    workers: int = 1,
    far_store: Path | None = None,
) -> None:
    """Write the visibility store of a tile's kept patches.

    Patches keep their order in the patch store; the result does not depend on the number of workers. At most
    two patches per worker are in memory, and the block means of the far terrain. Workers are threads: tracing
    releases the interpreter's lock.

    Parameters
    ----------
    patch_store : store of schema ``patches``.
    selected_json : file of schema ``selected/1``.
    size_px : side of a patch without halo, pixels.
    illumination : engine, halo, Sun and direction settings.
    out : store of schema ``visibility`` to make; empty where there are no kept patches.
    workers : threads.
    far_store : store of schema ``far`` of the whole terrain; needed where `illumination.far_m` is above 0,
        and not read otherwise.

    Raises
    ------
    ValueError
        If the store's patches are of another size, hold less halo than `illumination.halo_px`, or lack a
        kept patch; if far terrain is needed but absent, has another block or pixel size than expected, or
        reaches no farther than the halo.
    """
    patch_store, out = Path(patch_store), Path(out)
    patches = read_store(patch_store, schema="patches")
    stored_halo, pixel_m = int(patches.attrs["halo_px"]), float(patches.attrs["pixel_m"])
    if int(patches.attrs["size_px"]) != size_px:
        raise ValueError(f"{patch_store}: expected patches of {size_px} px, found {patches.attrs['size_px']}")
    halo = illumination.halo_px
    if halo > stored_halo:
        raise ValueError(
            f"{patch_store}: holds a halo of {stored_halo} px, but illumination.halo_px = {halo}; "
            "expected at most patches.halo_px"
        )
    ids = np.asarray(patches["id"].values)
    kept = _kept_rows(ids, selected_json, patch_store)
    inner = (halo, halo, size_px, size_px)
    crop = slice(stored_halo - halo, stored_halo + size_px + halo)

    far = far_dem(far_store, size_px, pixel_m, illumination) if illumination.far_m > 0 else None
    table = {} if far is None else {name: patches[name].values for name in ("site", "row", "col")}

    def load(row: int) -> tuple[NDArray[np.float32], int, FarTerrain | None]:
        dem = patches["dem"][row, crop, crop]
        if far is None:
            return dem, int(ids[row]), None
        site, top, left = (int(table[name][row]) for name in ("site", "row", "col"))
        return dem, int(ids[row]), far.around(site, top, left, size_px, halo, illumination.far_m)

    def work(dem: NDArray[np.float32], patch_id: int, around: FarTerrain | None) -> PatchLight:
        return trace_patch(dem, pixel_m, inner, patch_id, illumination, around)

    attrs: dict[str, Any] = {
        "size_px": size_px,
        "halo_px": halo,
        "sun": illumination.sun,
        "disc_deg": illumination.disc_deg if illumination.sun == "disc" else 0.0,
        "engine": illumination.engine,
    }
    if illumination.sun == "disc" and illumination.limb_darkening > 0:
        attrs["limb_darkening"] = illumination.limb_darkening
    if far is not None:
        attrs |= {"far_m": illumination.far_m, "far_cell_px": far.cell_px}
    logger.info("tracing %d of %d patches with %s", len(kept), len(ids), illumination.engine)
    with StoreWriter(out, schema="visibility", attrs=attrs) as writer:
        writer.write("id", ids[kept].astype(np.int64), dims=("patch",))
        fixed = fixed_directions(illumination.azimuth).astype(np.float32)
        writer.write("fixed/sun", fixed, dims=("direction", "vector"))
        arrays = {
            group: _create_light(writer, group, len(kept), count, size_px, illumination.sun)
            for group, count in (("fixed", len(fixed)), ("fibonacci", illumination.fibonacci))
        }
        suns = np.zeros((len(kept), illumination.fibonacci, 3), dtype=np.float32)
        present = np.zeros((len(kept), illumination.fibonacci), dtype=bool)
        results = in_order(work, (load(row) for row in kept), workers)
        for place, light in enumerate(progress(results, len(kept), "visibility")):
            arrays["fixed"][place] = light.values[: len(fixed)]
            arrays["fibonacci"][place] = light.values[len(fixed) :]
            suns[place], present[place] = light.sun, light.present
        writer.write("fibonacci/sun", suns, dims=("patch", "direction", "vector"))
        writer.write("fibonacci/present", present, dims=("patch", "direction"))


def far_dem(
    far_store: Path | None, size_px: int, pixel_m: float, illumination: IlluminationSection | ScenesStage
) -> FarDem:
    """The terrain's block means, checked against the config.

    Parameters
    ----------
    far_store : store of schema ``far``; None if there is none.
    size_px : side of a patch, pixels. pixel_m : pixel size, m.
    illumination : width of the halo, extent of the far terrain and side of its blocks.

    Raises
    ------
    ValueError
        If there are none, the block or pixel size is another than expected, or they reach no farther than the
        halo.
    """
    if far_store is None:
        raise ValueError(
            f"illumination.far_m = {illumination.far_m:g}: expected a store of far terrain, found none"
        )
    far = FarDem(far_store)
    if far.cell_px != illumination.far_cell_px or abs(far.pixel_m - pixel_m) > 1e-6 * pixel_m:
        raise ValueError(
            f"{far_store}: expected blocks of illumination.far_cell_px = {illumination.far_cell_px} pixels "
            f"of {pixel_m:g} m, found {far.cell_px} pixels of {far.pixel_m:g} m"
        )
    near = (size_px / 2 + illumination.halo_px) * pixel_m
    if illumination.far_m <= near:
        raise ValueError(
            f"illumination.far_m: expected more than half a patch and illumination.halo_px = "
            f"{illumination.halo_px} px, which is {near:g} m (or 0 for none), found {illumination.far_m:g}"
        )
    return far


def _kept_rows(ids: NDArray[np.int64], selected_json: Path, patch_store: Path) -> list[int]:
    """Rows of the kept patches in the patch store, ascending."""
    selected = read_json(selected_json, schema="selected/1")
    keep = {int(patch["id"]) for patch in selected["patches"] if patch["kept"]}
    missing = keep - {int(i) for i in ids}
    if missing:
        raise ValueError(
            f"{selected_json}: keeps patch {min(missing)}, which {patch_store} does not hold; "
            "expected both of the same tile"
        )
    return [row for row, patch_id in enumerate(ids) if int(patch_id) in keep]


def _create_light(writer: StoreWriter, group: str, patches: int, count: int, size_px: int, sun: str) -> Any:
    """Create the array for one group's visibility, one chunk per patch."""
    if sun == "point":
        width, name, last = -(-size_px // 8), "lit", "xbyte"
        attrs = {"long_name": "the Sun's centre is visible", "packing": "bits along x, first pixel highest"}
    else:
        width, name, last = size_px, "share", "x"
        attrs = {"long_name": "visible share of the Sun's disc", "units": "1/255"}
    shape, dims = (patches, count, size_px, width), ("patch", "direction", "y", last)
    return writer.create(f"{group}/{name}", shape, "u1", dims, (1, *shape[1:]), attrs)


def in_order(work: Callable[..., Result], jobs: Iterator[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """Call a function many times in threads, and yield its results in the order of the calls.

    Parameters
    ----------
    work : the function. An error that it raises is raised when its result is due.
    jobs : its arguments, one tuple per call; at most two per worker are read ahead.
    workers : threads; with one, calls are made in the caller's thread.
    """
    if workers <= 1:
        for job in jobs:
            yield work(*job)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for job in jobs:
            waiting.append(pool.submit(work, *job))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
