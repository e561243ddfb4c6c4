"""Sections that share keys: a base's key is a key of all that are made from it, with its default."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

from pipeline import config
from pipeline.config.arcs import ArcDraw
from pipeline.config.base import Section
from pipeline.config.bridge import BridgeSampler
from pipeline.config.masks import StripDraw
from pipeline.config.pretrained import PretrainedSampler
from pipeline.config.region import RegionLight, RegionMasks

for module in pkgutil.walk_packages(config.__path__, "pipeline.config."):
    import_module(module.name)


def sections(base: type[Section] = Section) -> Iterator[type[Section]]:
    for section in base.__subclasses__():
        if section.__module__.startswith("pipeline."):
            yield section
            yield from sections(section)


INHERITED = [
    pytest.param(section, base, id=f"{section.__name__}-{base.__name__}")
    for section in dict.fromkeys(sections())
    for base in section.__mro__[1:]
    if issubclass(base, Section) and base is not Section
]


def test_sections_with_bases_are_found() -> None:
    assert len(INHERITED) >= 10


@pytest.mark.parametrize(("section", "base"), INHERITED)
def test_no_key_of_a_base_is_hidden_or_means_something_else(
    section: type[Section], base: type[Section]
) -> None:
    for name, field in base.model_fields.items():
        assert name in section.model_fields
        own = section.model_fields[name]
        assert (own.annotation, own.metadata) == (field.annotation, field.metadata)
        assert field.is_required() or own.default == field.default


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        (
            ArcDraw(),
            {"place": "assumed", "latitude": (0, 90), "longitude": (0, 360), "declination": (0, 0),
             "images": (5, 100)},
        ),
        (
            RegionLight(),
            {"place": "assumed", "latitude": (85, 85), "longitude": (0, 0), "declination": (0, 0)},
        ),
        (
            StripDraw(),
            {"kind": "strip", "half_width_px": (25, 50), "share": 1, "width_m": (2500, 5000),
             "inclination_deg": (85, 95), "azimuth_jitter_deg": 2, "seam_px": (1, 3), "seam_share": 0.5,
             "blocks": {"share": 0.1, "size_px": (4, 16)}},
        ),
        (
            RegionMasks(),
            {"kind": "strip", "share": 1, "width_m": (2500, 5000), "inclination_deg": (85, 95),
             "azimuth_jitter_deg": 2, "seam_px": (1, 3), "seam_share": 0.5,
             "blocks": {"share": 0.1, "size_px": (4, 16)}},
        ),
        (BridgeSampler(), {"nfe": 10, "kind": "posterior", "eta": 0, "grid": "uniform"}),
        (PretrainedSampler(), {"nfe": 4, "kind": "dbim", "eta": 1, "grid": "quadratic"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Section) else "",
)  # fmt: skip
def test_keys_stand_in_this_order_with_these_defaults(section: Section, wanted: dict) -> None:
    def plain(value):
        if isinstance(value, dict):
            return (
                tuple(value.values())
                if set(value) == {"low", "high"}
                else {k: plain(v) for k, v in value.items()}
            )
        return value

    found = plain(section.model_dump())
    assert found == wanted
    assert list(found) == list(wanted)


@pytest.mark.parametrize("keys", [{"half_width_px": 0}, {"width_m": 0}, {"seam_px": 0}])
def test_widths_of_a_patch_are_above_nothing(keys: dict) -> None:
    (name,) = keys
    with pytest.raises(ValueError, match=f"{name}: expected > 0, found 0.0"):
        StripDraw.model_validate(keys)
