"""Stage ``map``: the products of a map, and the record of its inputs and settings."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config.stages.maps import MapStage
from pipeline.maps.blend import Clones
from pipeline.maps.far import reach_m
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import light_of, read_prepared, sun_of
from pipeline.maps.kinds import KINDS
from pipeline.maps.picture import write_quicklook
from pipeline.maps.points import compare_points, read_points
from pipeline.maps.prepare import Prepared
from pipeline.maps.products import Fallback, Light, write_rasters
from pipeline.maps.site import read_survey
from pipeline.maps.stac import write_item
from pipeline.maps.survey import Surveyed
from pipeline.maps.viewer import write_viewer
from pipeline.models.files import model_config
from pipeline.region.source import one_file
from pipeline.storage.atomic import read_json, replacing, write_json
from pipeline.storage.store import read_store, store_attrs
from pipeline.terrain.iau import iau_code

logger = logging.getLogger(__name__)

SCHEMA = "map/1"

_COLUMNS = (
    "file", "product", "used", "withheld", "why", "sun_source", "sun_azimuth_deg", "sun_elevation_deg",
    "sub_solar_lon_deg", "sub_solar_lat_deg", "sun_distance_km",
    "exposure", "exposure_scatter", "exposure_given", "dark", "shift_right_m", "shift_up_m",
    "sigma_right_m", "sigma_up_m", "applied_right_m", "applied_up_m", "residual_p50_m", "residual_p85_m",
    "correlation_before", "correlation_after", "correlation_opposite", "note",
)  # fmt: skip


def make_map(section: MapStage, inputs: Mapping[str, Any], outputs: Mapping[str, str], key: str = "") -> None:
    """Write a map's products.

    Parameters
    ----------
    section : of the stage.
    inputs : ``ground``, ``site`` (survey), ``fallback``, ``check``, ``model``; lists ``images``, ``clones``
        of stores; ``points`` (list of at most one file).
    outputs : files by their names in `KINDS` and `DOCUMENTS` of `pipeline.maps.kinds`.
    key : of the stage, for the tags of the products.
    """
    ground = SiteGround.load(one_file(inputs["ground"]))
    grid = ground.layout.grid
    check = read_json(one_file(inputs["check"]), "check/1")
    seen = read_prepared(inputs["images"], "all" if section.map.use_all else "map")
    rows = _rows(inputs)
    lit, gap = light_of(seen, grid)
    store = read_store(one_file(inputs["fallback"]), schema="fallback")
    fallback = Fallback(store["share"].values, store["sigma"].values, section.map.seed)
    clones = Clones(inputs["clones"], ground, section.map, section.map.members)
    fingerprint = model_config(one_file(inputs["model"]), "bridge")["fingerprint"]
    paths = {name: path for name, path in outputs.items() if name in KINDS}
    tags = _tags(section, ground, len(seen), fingerprint, key)
    write_rasters(paths, clones, ground, Light(lit, gap), section.map, tags, fallback)
    write_table(outputs["images"], rows)
    facts = _facts(section, ground, rows, check, fingerprint, key, paths)
    if inputs.get("points"):
        points = read_points(one_file(inputs["points"]))
        facts["points"] = compare_points(points, ground.layout.region, paths["mean"], paths["prior"])
    write_json(outputs["map"], facts)
    _show(section, ground, rows, check, fingerprint, len(seen), paths, outputs)
    # Last, since it describes finished files.
    write_item(outputs["stac"], outputs, ground.layout.region, [image.path for image in seen], facts)
    logger.info("map: %s", check["verdict"])


def _show(
    section: MapStage, ground: SiteGround, rows: Sequence[Prepared], check: Mapping[str, Any],
    fingerprint: str, used: int, paths: Mapping[str, str], outputs: Mapping[str, str],
) -> None:  # fmt: skip
    """Draw the picture and write the page."""
    shown = {name: path for name, path in paths.items() if name != "clones"}
    facts = {"site": str(section.site.dem), "model": fingerprint, "members": section.map.members}
    write_quicklook(outputs["quicklook"], shown, {**facts, "images": used})
    place = {"row": ground.layout.row, "col": ground.layout.col}
    summary = {k: check[k] for k in ("verdict", "images_seen", "images_withheld", "misfit_ratio_images")}
    # More than before the check where `map.use_all` adds the withheld images.
    summary["images_in_the_map"] = used
    facts = {**facts, **place, "check": summary}
    write_viewer(outputs["viewer"], shown, [row.to_json() for row in rows], facts)


def _rows(inputs: Mapping[str, Any]) -> list[Prepared]:
    """Results of the preparation of all images, in their order."""
    records = [record for path in inputs["images"] for record in store_attrs(path)["images"]]
    fields = Prepared.__dataclass_fields__
    rows = [Prepared.from_json({k: v for k, v in record.items() if k in fields}) for record in records]
    return rows or [Prepared(row, why=row.why) for row in read_survey(one_file(inputs["site"]))]


def write_table(path: str, rows: Sequence[Prepared]) -> None:
    """Write ``images.csv``: one row per image, used or not."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(_COLUMNS)
        for row in rows:
            image = row.image
            values = (
                image.path, image.product, "yes" if row.used else "no", "yes" if image.withheld else "no",
                row.why,
                image.sun_source, image.azimuth_deg, image.elevation_deg, *_sub_solar(image),
                row.exposure, row.scatter, image.exposure, row.dark,
                row.shift_right_m, row.shift_up_m, row.sigma_right_m, row.sigma_up_m, row.applied_right_m,
                row.applied_up_m, row.residual_p50_m, row.residual_p85_m, row.correlation_before,
                row.correlation_after, row.correlation_opposite, image.note,
            )  # fmt: skip
            table.writerow([_cell(value) for value in values])


def _sub_solar(image: Surveyed) -> tuple[str, str, str]:
    """Sub-solar point, degrees to 1e-7, and the Sun's distance, km; '' where unknown."""
    if image.sun is None:
        return "", "", ""
    sun = sun_of(image.sun)
    lon, lat = sun.subsolar
    return f"{lon:.7f}", f"{lat:.7f}", f"{sun.distance_km:.0f}" if np.isfinite(sun.distance_km) else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _tags(section: MapStage, ground: SiteGround, images: int, fingerprint: str, key: str) -> dict[str, str]:
    code = iau_code(ground.layout.region.projection)
    return {
        **({"IAU_CODE": code} if code else {}),
        "MODEL_FINGERPRINT": fingerprint, "STAGE_KEY": key, "MEMBERS": str(section.map.members),
        "NFE": str(section.sampler.nfe), "SAMPLER": section.sampler.kind,
        "FACTOR": str(ground.layout.factor), "STRIDE_PX": str(section.map.stride_px), "IMAGES": str(images),
        "SITE_DEM": str(section.site.dem), "HEIGHT_DATUM": "that of the a priori DEM",
        "CITATION": "Repasky et al. 2026, Improving Lunar Topography with Deep Learning Schroedinger Bridges",
        "NOTE": "experimental product, not an official map",
    }  # fmt: skip


def _shadows_m(ground: SiteGround) -> float:
    """Distance from the map's border within which all terrain casts shadows, metres."""
    grid, m = ground.layout.grid, ground.margin_px
    rows, cols = (np.arange(-m, size + m, dtype=np.float64) for size in (grid.height, grid.width))
    near = reach_m(np.isfinite(ground.surface), rows, cols, grid)
    far = ground.far
    return near if far is None else max(near, reach_m(np.isfinite(far.z), far.rows, far.cols, grid))


def _facts(
    section: MapStage, ground: SiteGround, rows: Sequence[Prepared], check: Mapping[str, Any],
    fingerprint: str, key: str, paths: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Contents of ``map.json``."""
    layout = ground.layout
    region = layout.region
    lon, lat = region.lonlat((region.height - 1) / 2, (region.width - 1) / 2)
    used = [row for row in rows if row.used]
    return {
        "schema": SCHEMA,
        "model_fingerprint": fingerprint,
        "key": key,
        "config": section.config,
        "site": section.site.model_dump(mode="json"),
        "place": {
            "rows": region.height, "cols": region.width, "pixel_m": region.pixel_m,
            "ground_pixel_m": round(region.true_pixel_m((region.height - 1) / 2, (region.width - 1) / 2), 6),
            "bounds": list(region.bounds), "crs_wkt": region.crs_wkt,
            "crs_code": iau_code(region.projection), "lon": float(lon), "lat": float(lat),
        },
        "dem": {
            "kind": layout.kind, "exact_cells": layout.exact_cells, "factor": layout.factor,
            "notes": [*layout.notes, *ground.notes], "known_share": round(float(np.mean(ground.known)), 6),
            "counts": ground.count is not None, "errors": ground.error is not None,
            "shadows_cast_within_m": round(_shadows_m(ground), 3),
        },
        "images": {
            "given": len(rows), "used": len(used), "withheld": sum(row.image.withheld for row in used),
            "refused": len(rows) - len(used),
            "sun_sources": {
                source: sum(row.image.sun_source == source for row in rows)
                for source in sorted({row.image.sun_source for row in rows})
            },
        },
        "clones": {
            "members": section.map.members, "nfe": section.sampler.nfe, "stride_px": section.map.stride_px,
            "blend": section.map.blend, "noise": section.map.noise, "std": section.map.std,
            "seed": section.map.seed,
        },
        "check": dict(check),
        "products": sorted(paths),
    }  # fmt: skip
