"""Survey of a site's images: which are usable, from their headers and the table of Suns only."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.images import ImagesSection
from pipeline.config.site import SiteSection
from pipeline.imagery.lattice import MapTarget
from pipeline.imagery.raster import SATURATED_SHARE, ImageFile
from pipeline.imagery.suns.asp import of_image, read_exposures
from pipeline.imagery.suns.names import camera, product_id
from pipeline.imagery.suns.resolve import ResolvedSun, resolve_suns
from pipeline.imagery.suns.tables import read_suns
from pipeline.maps.images import sun_on_map, sun_record
from pipeline.storage.sha256 import file_sha256
from pipeline.terrain.grid import RasterError
from pipeline.terrain.map_grid import MapGrid
from pipeline.terrain.site_raster import centre_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surveyed:
    """One image of a site.

    Attributes
    ----------
    path : of the file. product : its id, '' for none.
    why : the reason why it is not used; '' where it may be used.
    sun : JSON record, see `sun_record`; None where unknown. sun_source, note : its origin, for the user.
    azimuth_deg, elevation_deg : of the Sun at the map's centre, clockwise from map-up; None where unknown.
    box : (row0, row1, col0, col1) of the working area that it may cover; None outside.
    withheld : whether it is withheld from the map, for the check.
    exposure : from the list `site.exposures`, in its unit; None where there is none.
    """

    path: str
    product: str = ""
    why: str = ""
    sun: dict[str, Any] | None = None
    sun_source: str = "none"
    note: str = ""
    azimuth_deg: float | None = None
    elevation_deg: float | None = None
    box: tuple[int, int, int, int] | None = None
    withheld: bool = False
    exposure: float | None = None

    @property
    def usable(self) -> bool:
        """Whether the headers give no reason against its use."""
        return not self.why

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` inverts this exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Surveyed:
        """Make a row from what `to_json` gave."""
        return cls(**{**value, "box": None if value["box"] is None else tuple(value["box"])})


def survey(paths: Sequence[str], site: SiteSection, section: ImagesSection, grid: MapGrid) -> list[Surveyed]:
    """Survey all images of a site.

    Parameters
    ----------
    paths : files, in the order of the map. site : with the DEM, the table of Suns and the kernels.
    section : requirements on images. grid : of the map's working area.

    Returns
    -------
    One row per image, in the order given; unusable ones with the reason.

    Raises
    ------
    RasterError
        If the DEM, whose centre a table of Suns may refer to, is unusable.
    ValueError
        If the table of Suns or the list of exposures is unusable, or none of the images can be used.
    """
    files: dict[str, ImageFile] = {}
    broken: dict[str, str] = {}
    for path in paths:
        try:
            files[path] = ImageFile(path)
        except RasterError as error:
            broken[path] = str(error).removeprefix(f"{path}: ")
    # Lists of azimuths and elevations refer to the DEM's centre, wherever the map lies on it.
    table = read_suns(site.suns, centre_of(str(site.dem)), [*paths]) if site.suns is not None else None
    whole = [path for path in paths if path in files]
    try:
        suns = {s.path: s for s in resolve_suns(whole, table, lambda path: files[path].tags, site.kernels)}
    except ValueError as error:
        # Errors of the ephemeris name the key of another section.
        raise ValueError(str(error).replace("ephemeris.kernels", "site.kernels")) from None
    rows: list[Surveyed] = []
    for path in paths:
        if path in broken:
            rows.append(Surveyed(path, why=broken[path]))
        else:
            rows.append(_look(path, files[path], suns[path], rows, section, grid))
            files[path].close()
    rows = _withhold(_exposed(_without_copies(rows), site.exposures), section)
    usable = sum(row.usable for row in rows)
    for row in rows:
        if row.why or row.note:
            logger.warning("%s: %s", row.path, f"not used: {row.why}" if row.why else row.note)
    if paths and not usable:
        first = rows[0]
        raise ValueError(
            f"site.images: expected images that the map can use, found {len(rows)} of which none can be used "
            f"(the first, {first.path}: {first.why}){_other_pole(rows)}; site.images: null makes a map "
            "without images"
        )
    return rows


def _other_pole(rows: Sequence[Surveyed]) -> str:
    """Possible cause where the Sun is below the horizon in all images."""
    down = all(row.elevation_deg is not None and row.elevation_deg < 0 for row in rows)
    hint = "; the Sun is below the horizon in all of them: does the DEM's CRS name the right pole?"
    return hint if down else ""


def _exposed(rows: list[Surveyed], path: str | None) -> list[Surveyed]:
    """Rows with the exposures of a list."""
    if path is None:
        return rows
    values = read_exposures(path)
    found = [replace(row, exposure=of_image(values, row.path)) for row in rows]
    if rows and not any(row.exposure for row in found):
        raise ValueError(
            f"{path}: expected the exposure of an image of site.images, found {len(values)} of others"
        )
    return found


def _look(
    path: str, file: ImageFile, found: ResolvedSun, before: Sequence[Surveyed], section: ImagesSection,
    grid: MapGrid,
) -> Surveyed:  # fmt: skip
    row = Surveyed(path, product_id(path) or "", sun_source=found.source, note=found.note)
    twin = _twin(row.product, before)
    if twin is not None:
        what = "product" if twin.product == row.product else "image, raw or calibrated,"
        return replace(row, why=f"the same {what} as {twin.path}")
    if found.sun is None:
        why = found.note if found.note.startswith("no Sun") else f"no Sun: {found.note}"
        return replace(row, why=why, note="")
    middle = (grid.height - 1) / 2, (grid.width - 1) / 2
    x, y, z = sun_on_map(found.sun, grid, *middle)
    azimuth, elevation = float(np.degrees(np.arctan2(x, y)) % 360), float(np.degrees(np.arcsin(z)))
    row = replace(
        row, sun=sun_record(found.sun), azimuth_deg=round(azimuth, 4), elevation_deg=round(elevation, 4)
    )
    box = _box(file, grid)
    if box is None:
        return replace(row, why="it does not cover the map")
    row = replace(row, box=box)
    if elevation < section.lowest_sun_deg:
        limit = section.lowest_sun_deg
        return replace(row, why=f"the Sun is {elevation:.2f} deg high, images.lowest_sun_deg is {limit:g}")
    emission = found.row.emission_deg if found.row else None
    if emission is not None and emission > section.most_emission_deg:
        limit = section.most_emission_deg
        return replace(row, why=f"emission angle {emission:.1f} deg, images.most_emission_deg is {limit:g}")
    try:
        saturated = file.saturated_share
    except RasterError as error:
        return replace(row, why=str(error).removeprefix(f"{path}: "))
    if saturated > SATURATED_SHARE:
        return replace(row, why=f"{saturated:.0%} of its pixels are saturated")
    return row


def _twin(product: str, before: Sequence[Surveyed]) -> Surveyed | None:
    """The usable row of the same exposure and camera; None where there is none."""
    same = (row for row in before if row.usable and row.product and product)
    return next((row for row in same if camera(row.product) == camera(product)), None)


def _without_copies(rows: Sequence[Surveyed]) -> list[Surveyed]:
    """Rows where usable files with the content of a previous one are refused, whatever their names."""
    sizes = Counter(Path(row.path).stat().st_size for row in rows if row.usable)
    first: dict[str, str] = {}
    out = []
    for row in rows:
        # Only files of one size can be copies; no others are read.
        if row.usable and sizes[Path(row.path).stat().st_size] > 1:
            digest = file_sha256(Path(row.path))
            if digest in first:
                row = replace(row, why=f"a copy of {first[digest]}")
            first.setdefault(digest, row.path)
        out.append(row)
    return out


def _box(file: ImageFile, grid: MapGrid) -> tuple[int, int, int, int] | None:
    """The box of map pixels that an image may cover; None where there are none."""
    left, bottom, right, top = file.footprint(grid.crs_wkt)
    # On a polar map, the bounding box of an image around the opposite pole contains every map.
    if not left <= right or not file.meets(grid.crs_wkt, grid.bounds):
        return None
    x, y = grid.origin
    col0, col1 = int(np.floor((left - x) / grid.pixel_m)) - 1, int(np.ceil((right - x) / grid.pixel_m)) + 1
    row0, row1 = int(np.floor((y - top) / grid.pixel_m)) - 1, int(np.ceil((y - bottom) / grid.pixel_m)) + 1
    row0, row1 = max(row0, 0), min(row1, grid.height)
    col0, col1 = max(col0, 0), min(col1, grid.width)
    return (row0, row1, col0, col1) if row0 < row1 and col0 < col1 else None


def _withhold(rows: list[Surveyed], section: ImagesSection) -> list[Surveyed]:
    """Withhold some images, evenly in azimuth, so that the map is checked under light from all directions."""
    usable = [i for i, row in enumerate(rows) if row.usable]
    count = section.withheld_of(len(usable))
    order = sorted(usable, key=lambda i: (rows[i].azimuth_deg, i))
    picked = {order[int((k + 0.5) * len(order) / count)] for k in range(count)}
    return [replace(row, withheld=i in picked) for i, row in enumerate(rows)]


def target_of(grid: MapGrid) -> MapTarget:
    """The map's grid as the target of `pipeline.imagery.resample`."""
    return MapTarget(grid.crs_wkt, grid.transform, grid.height, grid.width)
