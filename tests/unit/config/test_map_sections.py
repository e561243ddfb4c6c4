"""Sections of a map: what is refused names its key, and what is given is kept."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config.base import Section
from pipeline.config.images import ImagesSection
from pipeline.config.maps import MapSection
from pipeline.config.site import SiteSection

PLACE = {"center_m": [1.0, 2.0], "size_px": 96}


def errors(section: type[Section], values: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        section(**values)
    (only,) = error.value.errors()
    return ".".join(str(part) for part in only["loc"]) + ": " + only["msg"]


@pytest.mark.parametrize(
    ("section", "values", "key"),
    [
        (SiteSection, {"height_unit": "feet"}, "height_unit"),
        (SiteSection, {"pixel_m": 0}, "pixel_m"),
        (SiteSection, {"pixel_m": float("nan")}, "pixel_m"),
        (SiteSection, {"center_m": [1, 2], "size_px": 0}, "size_px"),
        (SiteSection, {"center_m": [1], "size_px": 9}, "center_m"),
        (SiteSection, {"bounds": [0, 0, 1]}, "bounds"),
        (SiteSection, {"bounds": [0, 0, 1, float("inf")]}, "bounds"),
        (SiteSection, {"kernels": "one"}, "kernels"),
        (SiteSection, {"demm": "x"}, "demm"),
        (ImagesSection, {"per_job": 0}, "per_job"),
        (ImagesSection, {"min_valid": 1.1}, "min_valid"),
        (ImagesSection, {"light_m": 0}, "light_m"),
        (ImagesSection, {"lowest_sun_deg": -1}, "lowest_sun_deg"),
        (ImagesSection, {"lowest_sun_deg": 90}, "lowest_sun_deg"),
        (ImagesSection, {"most_emission_deg": 0}, "most_emission_deg"),
        (ImagesSection, {"most_emission_deg": 91}, "most_emission_deg"),
        (ImagesSection, {"shift_sigma_m": -1}, "shift_sigma_m"),
        (ImagesSection, {"max_shift_m": 0}, "max_shift_m"),
        (ImagesSection, {"withhold": -0.1}, "withhold"),
        (ImagesSection, {"withhold_least": 0}, "withhold_least"),
        (ImagesSection, {"check_from": 0}, "check_from"),
        (MapSection, {"members": 1}, "members"),
        (MapSection, {"members": 1001}, "members"),
        (MapSection, {"stride_px": 0}, "stride_px"),
        (MapSection, {"blend": "sharp"}, "blend"),
        (MapSection, {"blend_px": 0}, "blend_px"),
        (MapSection, {"blend_sigma_px": -1}, "blend_sigma_px"),
        (MapSection, {"noise": "none"}, "noise"),
        (MapSection, {"std": "other"}, "std"),
        (MapSection, {"tile_px": 0}, "tile_px"),
        (MapSection, {"steep_deg": 0}, "steep_deg"),
        (MapSection, {"fallback": "mean"}, "fallback"),
        (MapSection, {"seed": -1}, "seed"),
        (MapSection, {"seed": 2**32}, "seed"),
    ],
)
def test_values_out_of_range_are_refused_by_key(
    section: type[Section], values: dict[str, Any], key: str
) -> None:
    dem = {"dem": "dem.tif"} if section is SiteSection else {}
    assert errors(section, {**dem, **values}).split(":")[0].split(".")[0] == key


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images": "a/*.tif"}, "dem: expected a DEM, since images is given, found null"),
        ({"points": "lola.csv"}, "dem: expected a DEM, since points is given, found null"),
        ({"exact_cells": False}, "dem: expected a DEM, since exact_cells is given, found null"),
        ({"kernels": ["de421.bsp"]}, "dem: expected a DEM, since kernels is given, found null"),
        ({"dem": "d", "center_m": [1, 2]}, "size_px: expected a value, since center_m is given, found null"),
        ({"dem": "d", "size_px": 96}, "center_m: expected a value, since size_px is given, found null"),
        ({"dem": "d", **PLACE, "bounds": [0, 0, 1, 1]}, "bounds: expected null, since center_m is given"),
        ({"dem": "d", "bounds": [1, 0, 1, 1]}, "bounds: expected left < right and bottom < top"),
        ({"dem": "d", "bounds": [0, 2, 1, 1]}, "bounds: expected left < right and bottom < top"),
    ],
)
def test_keys_that_need_or_exclude_each_other(values: dict[str, Any], message: str) -> None:
    assert message in errors(SiteSection, values)


def test_a_site_without_a_dem_is_none() -> None:
    assert SiteSection().dem is None
    assert SiteSection().image_entries == []


@pytest.mark.parametrize(
    ("images", "entries"), [("a.tif", ["a.tif"]), (["a.tif", "b/*"], ["a.tif", "b/*"]), (None, []), ([], [])]
)
def test_images_are_one_entry_or_many(images: Any, entries: list[str]) -> None:
    assert SiteSection(dem="d", images=images).image_entries == entries


@pytest.mark.parametrize("place", [PLACE, {"bounds": [0.0, -2.5, 10.0, 4.0]}])
def test_sections_survive_their_canonical_text(place: dict[str, Any]) -> None:
    site = SiteSection(dem="d", images=["a"], pixel_m=5, exact_cells=False, crs="IAU_2015:30135", **place)
    for section in (site, ImagesSection(withhold=0), MapSection(members=4, noise="window")):
        assert type(section).model_validate_json(section.canonical()) == section
