"""Candidate images for a map of a site, and block means of its a priori DEM, by which they are chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from pipeline.config.images import ImagesSection
from pipeline.config.photometry import PhotometrySection
from pipeline.imagery.raster import ImageFile
from pipeline.imagery.suns.names import camera, product_id
from pipeline.imagery.suns.rows import SunRow
from pipeline.imagery.suns.sun import Sun
from pipeline.imagery.suns.tables import read_suns
from pipeline.maps.ground import SiteGround, block_nanmean, filled
from pipeline.maps.images import sun_of, sun_on_map
from pipeline.maps.render import Scene
from pipeline.maps.survey import Surveyed
from pipeline.terrain.map_grid import MapGrid

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Largest distance of an image's centre from the map: NAC strips are up to 52 km long.
_STRIP_M = 30_000.0


@dataclass(frozen=True)
class Blocks:
    """A map's a priori DEM on block means of its pixels.

    Attributes
    ----------
    scene, grid : of the blocks, H x W. known : (H, W) bool, blocks with data.
    right, up : (H, W) slopes to map-right and map-up, metres per metre.
    """

    scene: Scene
    grid: MapGrid
    known: Bools
    right: Floats
    up: Floats

    def sun(self, sun: Sun) -> Floats:
        """Unit vector to the Sun at the map's centre: right, up on the map, zenith."""
        return sun_on_map(sun, self.grid, (self.grid.height - 1) / 2, (self.grid.width - 1) / 2)

    def lit(self, sun: Sun) -> Bools:
        """(H, W) bool, blocks that face the Sun and see more than half of its disc."""
        share = self.scene.render(sun, (0, self.grid.height, 0, self.grid.width)).share
        x, y, z = self.sun(sun)
        return (np.nan_to_num(share) > 0.5) & (z - self.right * x - self.up * y > 0)


@dataclass(frozen=True)
class Candidate:
    """An image to choose from.

    Attributes
    ----------
    name : its path, or its product id. sun : the Sun of the image.
    azimuth_deg, elevation_deg : of the Sun at the map's centre, clockwise from map-up.
    covers : (H, W) bool, blocks that it covers. note : for the user.
    """

    name: str
    sun: Sun
    azimuth_deg: float
    elevation_deg: float
    covers: Bools
    note: str = ""


def blocks_of(ground: SiteGround, most: int) -> Blocks:
    """Block means of a map, at most `most` blocks along a side.

    Raises
    ------
    ValueError
        If the map has no block with heights, or is a single row or column.
    """
    layout, margin = ground.layout, ground.margin_px
    size = max(1, math.ceil(max(layout.height, layout.width) / most))
    rows, cols = (max(size, n - n % size) for n in (layout.height, layout.width))
    around = max(1, margin // size)
    surface = np.pad(ground.surface.astype(np.float64), size, constant_values=np.nan)
    top, left = (margin + n + size - around * size for n in (layout.row, layout.col))
    wide = block_nanmean(
        surface[top : top + rows + 2 * around * size, left : left + cols + 2 * around * size], size
    )
    here = ground.known[layout.row : layout.row + rows, layout.col : layout.col + cols]
    known = here.reshape(rows // size, size, cols // size, size).mean(axis=(1, 3)) >= 0.5
    if not known.any():
        raise ValueError(f"site.dem: expected heights on the map ({layout.region.describe()}), found none")
    region = layout.region
    grid = MapGrid(region.crs_wkt, region.transform @ Affine.scale(size), cols // size, rows // size)
    if min(known.shape) < 2:
        raise ValueError(f"site.size_px: expected a map of at least 2 x 2 pixels, found {region.describe()}")
    pixel = grid.true_pixel_m((grid.height - 1) / 2, (grid.width - 1) / 2)
    inner = filled(wide[around : around + grid.height, around : around + grid.width])
    down, right = (np.gradient(inner, pixel, axis=axis) for axis in (0, 1))
    scene = Scene(wide.astype(np.float32), around, grid, PhotometrySection(law="lambert"))
    return Blocks(scene, grid, known, right, -down)


def of_images(rows: Sequence[Surveyed], blocks: Blocks) -> list[Candidate]:
    """Candidates from the usable images of a survey."""
    lon, lat = blocks.grid.lonlat(*np.indices(blocks.known.shape))
    found = []
    for row in rows:
        if not row.usable or row.sun is None:
            continue
        file = ImageFile(row.path)
        with_data = file.coverage()
        down, across = file.pixel_of(lon, lat)
        inside = (down >= 0) & (down < file.height) & (across >= 0) & (across < file.width)
        at = [
            (np.where(inside, v, 0) * n / m).astype(int)
            for v, n, m in ((down, with_data.shape[0], file.height), (across, with_data.shape[1], file.width))
        ]
        covers = inside & with_data[at[0], at[1]]
        file.close()
        assert row.azimuth_deg is not None and row.elevation_deg is not None
        found.append(
            Candidate(row.path, sun_of(row.sun), row.azimuth_deg, row.elevation_deg, covers, row.note)
        )
    return found


def of_index(path: str, blocks: Blocks, section: ImagesSection) -> list[Candidate]:
    """Candidates from the rows of an index: without image files, by their corners and Suns.

    Rows of one image (raw and calibrated counts) count once. Where a table has no corners, an image whose
    centre is near is assumed to cover all of the map.

    Parameters
    ----------
    path : of a table with the columns of LROC's index. blocks : of the map.
    section : requirements on images.

    Raises
    ------
    ValueError
        If the table is unusable, or none of its images shows the map under a Sun that is up.
    """
    grid = blocks.grid
    lon0, lat0 = (float(v) for v in grid.lonlat((grid.height - 1) / 2, (grid.width - 1) / 2))
    there = Sun.from_subsolar(lon0, lat0, "the map's centre")
    reach = (math.hypot(grid.height, grid.width) * grid.pixel_m / 2 + _STRIP_M) / grid.projection.radius_m

    def near(lon: float, lat: float) -> bool:
        # Placeholder values of missing coordinates.
        if not (abs(lon) <= 360 and abs(lat) <= 90):
            return False
        return math.radians(there.separation_deg(Sun.from_subsolar(lon, lat, ""))) <= reach

    found: dict[str, Candidate] = {}
    for row in read_suns(path, around=near).rows:
        product = product_id(row.product or row.name)
        key = camera(product) if product else row.name
        if row.sun is None or key in found:
            continue
        if row.emission_deg is not None and row.emission_deg > section.most_emission_deg:
            continue
        x, y, z = blocks.sun(row.sun)
        elevation = float(np.degrees(np.arcsin(z)))
        covers = _inside(row, grid)
        if elevation < section.lowest_sun_deg or not (covers & blocks.known).any():
            continue
        azimuth = float(np.degrees(np.arctan2(x, y)) % 360)
        note = "" if row.corners else "corners unknown: taken to show all of the map"
        found[key] = Candidate(row.product or row.name, row.sun, azimuth, elevation, covers, note)
    if not found:
        raise ValueError(
            f"{path}: expected rows of images of the map ({grid.describe()}) with CENTER_LATITUDE and "
            f"CENTER_LONGITUDE and the Sun at least {section.lowest_sun_deg:g} deg high, found none"
        )
    return list(found.values())


def thinned(candidates: Sequence[Candidate], blocks: Blocks, most: int) -> list[Candidate]:
    """At most `most` candidates, even in azimuth: from each 3 degrees those that cover most of the map."""
    parts: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        parts.setdefault(int(candidate.azimuth_deg // 3), []).append(candidate)
    placed = []
    for part in sorted(parts):
        shown = sorted(parts[part], key=lambda c: -int((c.covers & blocks.known).sum()))
        placed += [(k, part, candidate) for k, candidate in enumerate(shown)]
    return [candidate for _, _, candidate in sorted(placed, key=lambda each: each[:2])[:most]]


def _inside(row: SunRow, grid: MapGrid) -> Bools:
    """(H, W) bool, blocks inside the quadrilateral of an image's corners, by the parity of crossed edges."""
    shape = grid.height, grid.width
    if row.corners is None:
        return np.ones(shape, dtype=bool)
    lon, lat = np.array(row.corners).T
    rows, cols = grid.pixel_at(lon, lat)
    y, x = np.indices(shape)
    inside = np.zeros(shape, dtype=bool)
    for k in range(len(rows)):
        y0, x0, y1, x1 = rows[k - 1], cols[k - 1], rows[k], cols[k]
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside
