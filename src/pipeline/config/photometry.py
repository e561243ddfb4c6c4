"""Section ``photometry``: how ground reflects light."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.config.base import Positive, Registry, Section

#: Laws of reflectance, and the module of each.
LAWS: Registry = {
    "exponential": "pipeline.illumination.laws.exponential",
    "lambert": "pipeline.illumination.laws.lambert",
    "lunar_lambert": "pipeline.illumination.laws.lunar_lambert",
    "hapke": "pipeline.illumination.laws.hapke",
}


def law_module(name: str) -> str:
    """The module of a law: code that belongs to the key of each stage that renders images with it.

    Raises
    ------
    ValueError
        If there is no such law.
    """
    if name not in LAWS:
        raise ValueError(f"expected a law of reflectance, one of {', '.join(LAWS)}, found {name!r}")
    return LAWS[name]


def _known(name: str) -> str:
    law_module(name)
    return name


LawName = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": [*LAWS]})]


class HapkeSection(Section):
    """Hapke's bidirectional reflectance.

    The defaults are the average Moon of Helfenstein & Veverka (1987, Icarus 72, 342): w 0.21, B0 2.01,
    h 0.07, and b, c with which the double Henyey-Greenstein function has the same first two Legendre moments
    as their particle phase function 1 + 0.29 P1 + 0.39 P2 (3 b c = 0.29, 5 b^2 = 0.39). Their roughness of
    20 degrees is `theta_deg`; 0 leaves the ground as smooth as the DEM.
    """

    w: Annotated[float, Field(gt=0, le=1)] = 0.21
    """single-scattering albedo, used instead of `photometry.albedo`."""
    b: Annotated[float, Field(ge=0, lt=1)] = 0.28
    """width of the lobes of the double Henyey-Greenstein phase function."""
    c: Annotated[float, Field(ge=-1, le=1)] = 0.35
    """weight of the backward lobe against the forward one; 1 or -1 leaves a single lobe."""
    b0: Annotated[float, Field(ge=0)] = 2.01
    """amplitude of the shadow-hiding opposition surge."""
    h: Positive = 0.07
    """angular width of the surge."""
    theta_deg: Annotated[float, Field(ge=0, lt=60)] = 0.0
    """mean slope of the facets within a pixel (Hapke 1984), degrees."""


class PhotometrySection(Section):
    """Reflectance, applied when a sample is read."""

    law: LawName = "exponential"
    """``exponential`` (published), ``lambert``, ``lunar_lambert`` or ``hapke``."""
    phase_unit: Literal["radians", "degrees"] = "radians"
    """unit of the phase angle in the exponential law; the published run used radians."""
    albedo: Annotated[float, Field(gt=0, le=1)] = 0.1
    """normal albedo that scales the radiance of all laws except Hapke's."""
    hapke: HapkeSection = HapkeSection()
