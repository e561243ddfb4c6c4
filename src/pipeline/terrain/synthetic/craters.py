"""Impact craters: their number and ages, and their shape after topographic diffusion.

A crater's age enters through its **exposure**: the number of craters larger than 1 km that have formed per
square kilometre since then (km^-2). Small impacts degrade the surface, so that exposure determines both the
number of craters and their degradation, and the heavy bombardment before 3.5 Ga needs no special case.

Sources
-------
- Number and ages: production and chronology functions of Neukum, Ivanov & Hartmann (2001), Space Sci. Rev.
  96, 55.
- Fresh shape: Pike (1977), Impact and Explosion Cratering, 489: depth 0.2 D and rim 0.036 D^1.014 for simple
  craters, 1.044 D^0.301 and 0.236 D^0.399 (km) for complex ones above 15 km; ejecta thinning as r^-3
  after McGetchin, Settle & Head (1973), EPSL 20, 226; shallower below 400 m after Stopar et al. (2017),
  Icarus 298, 34.
- Wear: topographic diffusion, 5.5 m^2/Myr for craters of 1 km, Fassett & Thomson (2014), JGR Planets 119,
  2255; its growth with crater size after Minton et al. (2019), Icarus 326, 63.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from pipeline.config.synthetic import SyntheticSection

# log10 N(>D) per km^2 and 10^9 years, D in km, 0.01 to 300 km (Neukum et al. 2001, table 1).
PRODUCTION = (
    -3.0876, -3.557528, 0.781027, 1.021521, -0.156012, -0.444058,
    0.019977, 0.086850, -0.005874, -0.006809, 8.25e-4, 5.54e-5,
)  # fmt: skip
# Craters of 1 km made in 10^6 years today, per km^2: the linear term of the chronology function.
FLUX_PER_MYR = 8.38e-7
# Diffusivity grows as diameter^DIFFUSION_EXPONENT: larger craters are also degraded by larger impacts.
DIFFUSION_EXPONENT = 0.6
# Diffusion times in units of radius^2: after the last one a crater has 5 % of its initial depth.
WEAR = np.concatenate([[0.0], np.geomspace(1e-4, 1.5, 40)])
_ROOT_WEAR = np.sqrt(WEAR)
# Radii at which ejecta begin to fade out and end, and at which shapes are tabulated, in crater radii.
FADE_FROM, REACH = 2.5, 4.5
RADII = np.arange(451) * 0.01
SIMPLE_BELOW_M = 15_000.0
# Radius at which a simple crater's conical wall rounds into its floor, and the exponent of a complex cavity.
ROUNDING = 0.6
COMPLEX_POWER = 2.4
# Depth/diameter of craters of 40 m, which form in loose regolith, relative to those above 400 m.
SMALL_SHALLOWNESS = 0.6
# Smallest diameter of drawn craters, pixels: smaller ones are not resolved by the grid.
SMALLEST_PX = 2.0
# Older terrain is levelled inside a new crater and its near ejecta; this share of its relief remains.
INHERITED = 0.1
# Range of the exposure of the prescribed large craters, relative to that of the surface.
LARGE_EXPOSURE = (0.1, 1.0)


@dataclass(frozen=True)
class Craters:
    """A list of craters, oldest first.

    Attributes
    ----------
    x_m, y_m : array (crater,), position from the tile's top-left corner, metres, y downwards.
    diameter_m : array (crater,), metres.
    wear : array (crater,), diffusion time in units of radius^2.
    irregularity : array (crater, 4, 2), cosine and sine amplitudes of the outline's harmonics 2 to 5.
    """

    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    diameter_m: NDArray[np.float64]
    wear: NDArray[np.float64]
    irregularity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x_m)


def production(diameter_m: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Number of craters larger than a diameter per crater larger than 1 km (production function).

    Parameters
    ----------
    diameter_m : array or float
        Diameter, metres, 10 to 300,000.
    """
    log_d = np.log10(np.asarray(diameter_m, dtype=np.float64) / 1000.0)
    return np.float64(10.0) ** (np.polynomial.polynomial.polyval(log_d, PRODUCTION) - PRODUCTION[0])


def exposure(age_ga: float) -> float:
    """Number of craters larger than 1 km per km^2 for an age in 10^9 years (chronology function)."""
    return 5.44e-14 * np.expm1(6.93 * age_ga) + 8.38e-4 * age_ga


def wear_rate(diameter_m: NDArray[np.float64], diffusivity_m2_per_myr: float) -> NDArray[np.float64]:
    """Diffusion time of a crater, in units of radius^2, per unit of exposure (km^2)."""
    diffusivity = diffusivity_m2_per_myr * (diameter_m / 1000.0) ** DIFFUSION_EXPONENT
    return diffusivity / FLUX_PER_MYR / (diameter_m / 2.0) ** 2


def draw_craters(section: SyntheticSection, generator: np.random.Generator) -> Craters:
    """Draw the craters of a tile and its surroundings.

    In each of many narrow ranges of diameter the number is Poisson distributed, with the mean from the
    production function over the tile and the margin from which such craters reach into it. Craters that are
    too degraded to be visible are not drawn: small ones are thus young and the population is in equilibrium.

    Parameters
    ----------
    section : SyntheticSection
        Size, age and density of the surface.
    generator : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    Craters
        Oldest first.
    """
    side = section.size_px * section.pixel_m
    smallest = max(SMALLEST_PX * section.pixel_m, 10.0)
    whole = exposure(section.surface_age_ga)
    columns: list[tuple[NDArray[np.float64], ...]] = []
    if section.largest_crater_m > smallest:
        edges = np.geomspace(smallest, section.largest_crater_m, 61)
        numbers = production(edges)
        for low, high, more, fewer in zip(edges[:-1], edges[1:], numbers[:-1], numbers[1:], strict=True):
            rate = float(wear_rate(np.array([low]), section.diffusivity_m2_per_myr)[0])
            visible = min(whole, WEAR[-1] / rate) if rate > 0 else whole
            margin = REACH * high / 2.0
            area_km2 = ((side + 2 * margin) / 1000.0) ** 2
            mean = section.crater_density * area_km2 * visible * (more - fewer)
            count = int(generator.poisson(mean))
            # Within a narrow range, numbers nearly follow a power law: uniform in log diameter is accurate.
            diameter = np.exp(generator.uniform(np.log(low), np.log(high), count))
            place = generator.uniform(-margin, side + margin, (2, count))
            columns.append((*place, diameter, generator.uniform(0.0, visible, count)))
    count = section.large_craters
    place = generator.uniform(0.0, side, (2, count))
    diameter = section.large_crater_m * generator.uniform(0.5, 1.0, count)
    low, high = (np.log(share) for share in LARGE_EXPOSURE)
    columns.append((*place, diameter, whole * np.exp(generator.uniform(low, high, count))))
    x, y, diameter, since = (np.concatenate(values) for values in zip(*columns, strict=True))
    order = np.argsort(-since, kind="stable")
    wear = np.minimum(wear_rate(diameter, section.diffusivity_m2_per_myr) * since, WEAR[-1])
    # Outlines deviate from circles by a few per cent, more for large craters, whose walls slump.
    spread = 0.02 * np.clip(diameter / 1000.0, 0.5, 4.0) ** 0.5
    irregularity = generator.standard_normal((len(x), 4, 2)) * spread[:, None, None]
    irregularity /= np.arange(1, 5)[None, :, None]
    return Craters(x[order], y[order], diameter[order], wear[order], irregularity[order])


@cache
def worn_shapes(simple: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cavity and rim of a unit crater after every diffusion time in `WEAR`.

    Solves radial diffusion ``dz/dt = (1/r) d/dr (r dz/dr)`` with finite volumes, implicit in time.

    Parameters
    ----------
    simple : bool
        A simple crater is a cone with a rounded floor (a hyperbola); a complex one is flatter inside.
        Both leave walls of about 31 degrees, the angle of repose, at their usual depths.

    Returns
    -------
    cavity, rim : array (wear, radius)
        The cavity for a depth of 1; the rim, flat inside and decreasing as r^-3 outside, for a height of 1.
    """
    # The outer boundary, without flux, is far beyond the tabulated radii.
    step = float(RADII[1])
    radii = np.arange(801) * step
    inside = radii < 1.0
    if simple:
        corner = np.hypot(ROUNDING, 1.0)
        cavity = np.where(inside, (np.hypot(ROUNDING, radii) - corner) / (corner - ROUNDING), 0.0)
    else:
        cavity = np.where(inside, radii**COMPLEX_POWER - 1.0, 0.0)
    rim = np.where(inside, 1.0, np.maximum(radii, 1.0) ** -3.0)
    fields = np.stack([cavity, rim], axis=1)
    # Rings between midpoints; the flux through the innermost edge (r = 0) and the outermost one is zero.
    edges = np.concatenate([[0.0], radii[:-1] + step / 2, [radii[-1]]])
    area = (edges[1:] ** 2 - edges[:-1] ** 2) / 2.0
    conductance = edges[1:-1] / step
    out = np.zeros_like(radii)
    out[:-1] += conductance
    out[1:] += conductance
    result = [fields]
    for start, stop in pairwise(WEAR.tolist()):
        for _ in range(8):
            dt = (stop - start) / 8
            matrix = np.zeros((3, len(radii)))
            matrix[1] = 1.0 + dt * out / area
            matrix[0, 1:] = -dt * conductance / area[:-1]
            matrix[2, :-1] = -dt * conductance / area[1:]
            fields = scipy.linalg.solve_banded((1, 1), matrix, fields)
        result.append(fields)
    fade = np.clip((REACH - RADII) / (REACH - FADE_FROM), 0.0, 1.0)
    fade = fade * fade * (3.0 - 2.0 * fade)
    table = np.stack(result)[:, : len(RADII)] * fade[None, :, None]
    return np.ascontiguousarray(table[..., 0]), np.ascontiguousarray(table[..., 1])


def fresh_size(diameter_m: float, depth_diameter: float) -> tuple[float, float, bool]:
    """Depth below the rim (m), rim height (m) of a fresh crater, and whether it is a simple one."""
    km = diameter_m / 1000.0
    if diameter_m < SIMPLE_BELOW_M:
        grown = min(max((diameter_m - 40.0) / 360.0, 0.0), 1.0)
        share = SMALL_SHALLOWNESS + (1.0 - SMALL_SHALLOWNESS) * grown
        return share * depth_diameter * diameter_m, share * 36.0 * km**1.014, True
    # Complex craters are scaled with the ratio of simple ones.
    return 1044.0 * km**0.301 * depth_diameter / 0.2, 236.0 * km**0.399, False


def radial_profile(diameter_m: float, wear: float, depth_diameter: float) -> NDArray[np.float64]:
    """Height of a degraded crater above the surrounding plain.

    Parameters
    ----------
    diameter_m : metres. wear : diffusion time in units of radius^2, at most the last of `WEAR`.
    depth_diameter : depth over diameter of fresh simple craters.

    Returns
    -------
    Heights at the radii `RADII`, metres, (451,).
    """
    depth, rim_height, simple = fresh_size(diameter_m, depth_diameter)
    cavity, rim = worn_shapes(simple)
    # Linear in sqrt(wear): the rim is smoothed over the diffusion length, sqrt(4 kappa t).
    low = min(int(np.searchsorted(WEAR, wear, side="right")), len(WEAR) - 1) - 1
    share = (np.sqrt(wear) - _ROOT_WEAR[low]) / (_ROOT_WEAR[low + 1] - _ROOT_WEAR[low])
    profile = (depth * (1.0 - share)) * cavity[low]
    profile += (depth * share) * cavity[low + 1]
    profile += (rim_height * (1.0 - share)) * rim[low]
    profile += (rim_height * share) * rim[low + 1]
    return profile


def stamp_craters(
    relief: NDArray[np.float64], craters: Craters, pixel_m: float, depth_diameter: float, strip_px: int = 512
) -> None:
    """Add craters to a relief, in place, oldest first.

    Each crater first levels the terrain under it towards the regional plane (fitted around its rim), so that
    young craters overprint old ones. Strips of rows bound the memory for large craters.

    Parameters
    ----------
    relief : array (y, x)
        Heights, metres; changed in place.
    craters : Craters
        What to add.
    pixel_m : float
        Pixel size, metres.
    depth_diameter : float
        Depth over diameter of fresh simple craters.
    strip_px : int
        Rows per strip; the result does not depend on it.
    """
    rows, columns = relief.shape
    for i in range(len(craters)):
        radius = craters.diameter_m[i] / 2.0 / pixel_m
        centre_x = craters.x_m[i] / pixel_m - 0.5
        centre_y = craters.y_m[i] / pixel_m - 0.5
        left, right = _span(centre_x, REACH * radius, columns)
        top, bottom = _span(centre_y, REACH * radius, rows)
        if left >= right or top >= bottom:
            continue
        profile = radial_profile(craters.diameter_m[i], craters.wear[i], depth_diameter)
        plane = _regional_plane(relief, centre_x, centre_y, radius) if radius >= 3.0 else None
        dx = (np.arange(left, right) - centre_x) / radius
        for first in range(top, bottom, strip_px):
            last = min(first + strip_px, bottom)
            dy = (np.arange(first, last) - centre_y) / radius
            distance = _outline_distance(dx, dy, craters.irregularity[i] if radius >= 4.0 else None)
            region = relief[first:last, left:right]
            if plane is not None:
                level = plane[0] + plane[1] * dx[None, :] + plane[2] * dy[:, None]
                # Full inside 0.9 radii, none beyond 1.7, where ejecta are too thin to bury terrain.
                weight = np.clip((1.7 - distance) / 0.8, 0.0, 1.0)
                weight *= weight * (3.0 - 2.0 * weight) * (1.0 - INHERITED)
                region += weight * (level - region)
            region += _lookup(profile, distance)


def _span(centre: float, reach: float, size: int) -> tuple[int, int]:
    return max(int(np.ceil(centre - reach)), 0), min(int(np.floor(centre + reach)) + 1, size)


def _lookup(profile: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation on the equidistant radii `RADII`; zero beyond them."""
    position = np.minimum(distance * (1.0 / RADII[1]), len(RADII) - 1.001)
    low = position.astype(np.intp)
    return profile[low] + (position - low) * (profile[low + 1] - profile[low])


def _outline_distance(
    dx: NDArray[np.float64], dy: NDArray[np.float64], harmonics: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Distance from the centre in units of the rim's radius in that direction."""
    distance = np.hypot(dx[None, :], dy[:, None])
    if harmonics is None:
        return distance
    unit = (dx[None, :] + 1j * dy[:, None]) / np.maximum(distance, 1e-9)
    wave = np.ones_like(distance)
    turn = unit
    for cosine, sine in harmonics:
        turn = turn * unit
        wave += cosine * turn.real + sine * turn.imag
    # Circular at the centre, so that the floor is smooth there.
    return distance / (1.0 + (np.clip(wave, 0.75, 1.25) - 1.0) * np.minimum(distance, 1.0))


def _regional_plane(
    relief: NDArray[np.float64], centre_x: float, centre_y: float, radius: float
) -> NDArray[np.float64]:
    """Least-squares plane (height, rise per radius in x and y) through 96 points around the rim.

    Points outside the tile are moved to the nearest edge pixel.
    """
    angle = np.arange(96) * (2 * np.pi / 96)
    ring = np.tile([1.0, 1.3, 1.6], 32) * radius
    column = np.clip(np.rint(centre_x + ring * np.cos(angle)), 0, relief.shape[1] - 1).astype(np.intp)
    row = np.clip(np.rint(centre_y + ring * np.sin(angle)), 0, relief.shape[0] - 1).astype(np.intp)
    u, v = (column - centre_x) / radius, (row - centre_y) / radius
    design = np.stack([np.ones(96), u, v], axis=1)
    # Ridge regression: for a ring along one edge of the tile, the tilt across the edge is undetermined.
    normal = design.T @ design + np.diag([0.0, 1.0, 1.0])
    return np.linalg.solve(normal, design.T @ relief[row, column])
