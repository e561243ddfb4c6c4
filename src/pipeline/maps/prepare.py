"""Stage ``map_images``: preparation of a chunk of real images: dark level, exposure, registration,
resampling.

Each image is compared with a rendering of a DEM under its own Sun: first the a priori DEM, then the first
reconstruction. The results are stored with the image; `images.csv` lists them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.images import ImagesSection
from pipeline.config.stages.maps import PrepareStage
from pipeline.imagery.darkness import dark_level
from pipeline.imagery.exposure import exposure
from pipeline.imagery.raster import ImageFile
from pipeline.imagery.registration import Match, plausible, register, shrink
from pipeline.imagery.resample import resample
from pipeline.jobs.progress import progress
from pipeline.maps.first_pass import Known, exposures_of, lit_blocks, records_of, settle, withheld_of
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import lit_level, sun_of
from pipeline.maps.kept import KeptImages
from pipeline.maps.render import Box, Rendering, Scene
from pipeline.maps.site import read_survey
from pipeline.maps.survey import Surveyed, target_of
from pipeline.maps.tiling import chunks
from pipeline.region.source import one_file
from pipeline.storage.store import StoreWriter
from pipeline.terrain.grid import RasterError
from pipeline.terrain.map_grid import MapGrid

logger = logging.getLogger(__name__)

Floats = NDArray[np.floating[Any]]

SCHEMA = "prepared"

# Least number of map pixels with data in an image.
_LEAST_PX = 400
# With at least this many lit pixels, the least correlation of an image with the DEM under its Sun.
_TELLING_PX, _ALIKE = 4000, 0.15
# Shift of a match along the light that errors of a reconstruction cause, pixels (measured on two sites whose
# truth is known: 0.26 px along, 0.05 to 0.15 px across).
_ALONG_PX = 0.3
# Least correlation that is not accidental.
_CLEAR = 0.25


@dataclass(frozen=True)
class Prepared:
    """Results of the preparation of one image; a row of ``images.csv``.

    Attributes
    ----------
    image : row of the survey. used : whether the map may use it. why : the reason if not.
    exposure : image over rendering. scatter : of that ratio. dark : dark level, in the image's unit.
    shift_right_m, shift_up_m : displacement of its content to the right and up against the DEM, metres; NaN
        where it could not be determined. sigma_right_m, sigma_up_m : standard errors.
    applied_right_m, applied_up_m : correction that was applied, metres.
    residual_p50_m, residual_p85_m : percentiles of the distance between the shifts of parts and of the whole.
    correlation_before, correlation_after, correlation_opposite : with the rendering, as given, moved, and
        under the opposite Sun.
    """

    image: Surveyed
    used: bool = False
    why: str = ""
    exposure: float | None = None
    scatter: float | None = None
    dark: float | None = None
    shift_right_m: float | None = None
    shift_up_m: float | None = None
    sigma_right_m: float | None = None
    sigma_up_m: float | None = None
    applied_right_m: float = 0.0
    applied_up_m: float = 0.0
    residual_p50_m: float | None = None
    residual_p85_m: float | None = None
    correlation_before: float | None = None
    correlation_after: float | None = None
    correlation_opposite: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "image": self.image.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Prepared:
        """Make a row from what `to_json` gave."""
        return cls(**{**value, "image": Surveyed.from_json(value["image"])})


def prepare_chunk(section: PrepareStage, chunk: int, inputs: Mapping[str, Any], out: str) -> None:
    """Prepare the images of a chunk.

    Parameters
    ----------
    section : of the stage. chunk : its number, from 0.
    inputs : ``images`` (all of the site's, a path or a list), ``ground`` (that of the site, or the first
        reconstruction), ``site`` (the survey), and in the second preparation ``first``, the stores of the
        first one, which give the withheld images and exposures.
    out : store of schema ``prepared/1`` to write.
    """
    ground, rows = SiteGround.load(one_file(inputs["ground"])), read_survey(one_file(inputs["site"]))
    # The files may have been elsewhere when the survey was made.
    given = inputs["images"]
    paths = [given] if isinstance(given, str) else list(given)
    rows = [replace(row, path=path) for row, path in zip(rows, paths, strict=True)]
    grid = ground.layout.grid
    scene = Scene(ground.surface, ground.margin_px, grid, section.photometry, ground.far)
    # A rendering of block means reveals a wrong place, but no small shift: the bicubic of cells errs by
    # pixels.
    along = 0.0 if ground.layout.kind != "coarse" else _ALONG_PX if section.again else None
    exposures: list[Known | None] = [None] * len(rows)
    if section.again:
        records = records_of(inputs["first"])
        withheld, exposures = withheld_of(records, section.images), exposures_of(records)
        rows = [replace(row, withheld=i in withheld) for i, row in enumerate(rows)]
    parts = chunks(list(enumerate(rows)), section.images.per_job)
    mine = parts[chunk]
    known = [exposures[i] for i, _ in mine]
    part = f", part {chunk + 1} of {len(parts)}" if len(parts) > 1 else ""
    images = [row for _, row in mine]
    prepare_images(images, scene, grid, section.images, along, out, known, section.again, part)


def prepare_images(
    rows: Sequence[Surveyed],
    scene: Scene,
    grid: MapGrid,
    section: ImagesSection,
    along_px: float | None,
    out: Path | str,
    exposures: Sequence[Known | None] = (),
    last: bool = True,
    part: str = "",
) -> None:
    """Prepare the images of a chunk and write a store of schema ``prepared/1``.

    Parameters
    ----------
    rows : of the survey. scene : the DEM that they are compared with. grid : of the map's working area.
    section : requirements on images.
    along_px : error of the scene that looks like a shift along the light, see `shrink`; None to apply no
        shift: a rendering of block means reveals a wrong place, but no small shift.
    out : file to write. exposures : prior of each image's exposure.
    last : whether the map itself uses these images, not only the first reconstruction.
    part : which of the map's images these are, for the log.
    """
    verdict = "not used" if last else "not used for the first reconstruction"
    done, kept = [], KeptImages(out)
    shape = len(rows), grid.height, grid.width
    with StoreWriter(out, SCHEMA) as store:
        chunks = (1, min(256, grid.height), min(256, grid.width))
        radiance = store.create("radiance", shape, "f4", ("image", "y", "x"), chunks, compress=True)
        for i, row in enumerate(progress(rows, len(rows), f"map: images prepared{part}")):
            record, values = kept.get(i) or (None, None)
            if record is None:
                known = exposures[i] if exposures else None
                found, values = prepare_image(row, scene, grid, section, along_px, known)
                record = _record(row, found, values, (grid.height, grid.width))
                kept.put(i, record, values)
            whole = np.full(shape[1:], np.nan, np.float32)
            if values is not None and row.box is not None:
                row0, row1, col0, col1 = row.box
                whole[row0:row1, col0:col1] = values
            radiance[i] = whole
            done.append(record)
            if record["why"] and row.usable:
                logger.warning("%s: %s: %s", row.path, verdict, record["why"])
        store.describe({"images": done})
    kept.clear()


def _record(
    row: Surveyed, found: Prepared, values: NDArray[np.float32] | None, shape: tuple[int, int]
) -> dict[str, Any]:
    """Record of an image in a store."""
    level = 0.0 if values is None else lit_level(values)
    lit = [] if values is None or row.box is None else lit_blocks(values, row.box, shape, level)
    record: dict[str, Any] = _plain(
        found.to_json()
        | {
            "path": row.path,
            "sun": row.sun,
            "box": list(row.box or (0, 0, 0, 0)),
            "level": level,
            "lit": lit,
            "withheld": row.withheld,
        }
    )
    return record


def prepare_image(
    row: Surveyed,
    scene: Scene,
    grid: MapGrid,
    section: ImagesSection,
    along_px: float | None,
    known: Known | None = None,
) -> tuple[Prepared, NDArray[np.float32] | None]:
    """Prepare one image.

    Parameters
    ----------
    row : of the survey. scene : renders the DEM with which the image is compared. grid : of the map's
        working area.
    section : requirements on images.
    along_px : additional standard error of the shift along the Sun's azimuth, pixels, see `shrink`; None to
        apply no shift.
    known : prior of the image's exposure; None if there is none.

    Returns
    -------
    Its row, with the reason (`why`) if it is not used, also for a file that cannot be read; and the image in
    its box of the map, (rows, cols): radiance in units of the Lambert rendering, NaN without data; None where
    the image is not used.
    """
    if not row.usable or row.box is None or row.sun is None:
        return Prepared(row, why=row.why), None
    try:
        file = ImageFile(row.path)
    except RasterError as error:
        return Prepared(row, why=str(error)), None
    try:
        return _prepare(row, row.box, file, scene, grid, section, along_px, known)
    except RasterError as error:
        return Prepared(row, why=str(error)), None
    finally:
        file.close()


def _prepare(
    row: Surveyed,
    box: Box,
    file: ImageFile,
    scene: Scene,
    grid: MapGrid,
    section: ImagesSection,
    along_px: float | None,
    known: Known | None,
) -> tuple[Prepared, NDArray[np.float32] | None]:
    assert row.sun is not None
    target, (row0, row1, col0, col1) = target_of(grid), box
    values, valid, _ = resample(file, target, (row0, row1), (col0, col1), min_valid=section.min_valid)
    if valid.sum() < _LEAST_PX:
        why = f"{int(valid.sum())} pixels of the map have data, at least {_LEAST_PX} are needed"
        return Prepared(row, why=why), None
    sun = sun_of(row.sun)
    seen = scene.render(sun, box)
    dark = dark_level(values, valid, seen.share)
    found = Prepared(row, used=True, dark=dark.level)
    match = _match(values, valid, dark.field(valid.shape), seen, scene.render(sun, box, 180.0), section, grid)
    found = _matched(found, match, grid.pixel_m)
    why = _contradiction(match, seen, valid, section, grid.pixel_m, along_px is not None)
    if why:
        return replace(found, used=False, why=why), None
    if along_px is not None and plausible(match) is None:
        pixel = grid.pixel_m
        right, up = shrink(match, section.shift_sigma(pixel), pixel, row.azimuth_deg or 0.0, along_px)
        shift = (-right * pixel, -up * pixel)
        found = replace(found, applied_right_m=shift[0], applied_up_m=shift[1])
        values, valid, _ = resample(file, target, (row0, row1), (col0, col1), shift, section.min_valid)
    field = dark.field(valid.shape)
    try:
        bright = exposure(values, valid, field, seen.lambert)
    except ValueError as error:
        return replace(found, used=False, why=str(error)), None
    scale, why = settle(bright, known, row.path)
    found = replace(found, used=not why, why=why, exposure=scale, scatter=bright.scatter)
    if why:
        return found, None
    light = np.where(valid, (values - field) / scale, np.nan).astype(np.float32)
    return found, light


def _contradiction(
    match: Match,
    seen: Rendering,
    valid: NDArray[np.bool_],
    section: ImagesSection,
    pixel_m: float,
    detailed: bool,
) -> str:
    """Reason why an image cannot show this place under this Sun; '' where there is none.

    With an image that is nearly all shadow, or a DEM without detail, the test has little power, and the image
    is accepted without a shift.
    """
    opposite = match.opposite_correlation or 0.0
    if opposite > max(match.correlation_after, _CLEAR):
        return f"correlation {match.correlation_after:.2f}, under the opposite Sun {opposite:.2f}"
    if not detailed:
        return ""
    lit = int((valid & (seen.share > 0.5)).sum())
    if lit >= _TELLING_PX and match.correlation_after < _ALIKE:
        return f"correlation {match.correlation_after:.2f} with the DEM under its Sun, expected {_ALIKE:g}"
    if plausible(match) is None or match.correlation_after > _CLEAR:
        far = math.hypot(match.shift_right_px, match.shift_up_px) * pixel_m
        most = section.max_shift(pixel_m)
        if far > most:
            return f"it is displaced by {far:.0f} m, images.max_shift_m is {most:g}"
    return ""


def _match(
    values: Floats, valid: NDArray[np.bool_], dark: Floats, seen: Rendering, opposite: Rendering,
    section: ImagesSection, grid: MapGrid,
) -> Match:  # fmt: skip
    # One pixel more than the limit, so that the message of a refusal can give the displacement.
    reach = min(section.max_shift(grid.pixel_m) / grid.pixel_m + 1, min(valid.shape) / 2 - 1)
    return register(values, valid, dark, seen.radiance, reach, opposite=opposite.radiance)


def _matched(found: Prepared, match: Match, pixel_m: float) -> Prepared:
    """A row with the results of the registration, in metres."""
    return replace(
        found, shift_right_m=match.shift_right_px * pixel_m, shift_up_m=match.shift_up_px * pixel_m,
        sigma_right_m=match.sigma_right_px * pixel_m, sigma_up_m=match.sigma_up_px * pixel_m,
        residual_p50_m=match.residual_p50_px * pixel_m, residual_p85_m=match.residual_p85_px * pixel_m,
        correlation_before=match.correlation_before, correlation_after=match.correlation_after,
        correlation_opposite=match.opposite_correlation,
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """JSON values: numbers that are not finite become None, arrays and tuples become lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
