"""The uncertainty of an a priori DEM, estimated from the DEM itself.

A given error map is used as it is. Otherwise, the roughness below the cells of a coarse DEM is extrapolated:
the errors of the bicubic of cells twice and four times as large give the power of two octaves, and the power
spectrum of terrain is close to a power law (Rosenburg et al. 2011), which gives the octaves within a cell.
For a fine DEM with counts, a spline through some of the altimeter's hits is compared with the other hits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.maps.ground import SiteGround, filled
from pipeline.terrain.bicubic import bicubic_up
from pipeline.terrain.sampling import block_nanmean

Floats = NDArray[np.float64]

# Sigma of the Gaussian over which local roughness is averaged, cells.
_LOCAL_CELLS = 2.0
# Limits of the Hurst exponent: rough terrain on the one side, smooth massifs on the other.
_HURST = 0.5, 1.5
# Withheld hits: every 20th strip in each direction, as wide as the gaps but at most 16 pixels; least number.
_EVERY, _WIDEST, _LEAST_HITS = 20, 16, 200
# Beyond the largest distance of withheld hits, errors grow with this power of the distance.
_GROWTH = 0.8


def apriori_sigma(ground: SiteGround, altimetry: Altimetry | None = None) -> NDArray[np.float32]:
    """1-sigma uncertainty of the a priori DEM, (H, W) metres.

    Parameters
    ----------
    ground : of the map. altimetry : comparison with withheld hits, where there are counts.
    """
    if ground.error is not None:
        held = filled(ground.error.astype(np.float64))
        return np.maximum(held, 0).astype(np.float32)
    if altimetry is not None:
        return altimetry.sigma
    return _roughness(ground)


def _roughness(ground: SiteGround) -> NDArray[np.float32]:
    """Extrapolated roughness below the cells of a coarse DEM, or below four pixels of a fine one, metres."""
    layout = ground.layout
    fine = ground.dem if layout.kind != "coarse" else None
    cells = filled(ground.cells) if fine is None else filled(block_nanmean(fine, 4))
    step = layout.factor if fine is None else 4
    inner = ground.halo_cells if fine is None else 0
    high, wide = (n // 4 * 4 for n in cells.shape)
    even = cells[:high, :wide]
    if min(high, wide) < 8:
        sigma = np.full(ground.dem.shape, float(np.std(cells - cells.mean())))
        return sigma.astype(np.float32)
    two, four = _missed(even), _missed(block_nanmean(even, 2)).repeat(2, axis=0).repeat(2, axis=1)
    hurst = np.clip(0.5 * np.log2(max(four.mean(), 1e-12) / max(two.mean(), 1e-12)), *_HURST)
    # Octaves below: each has 2^(-2H) of the power of the one above; a fine DEM lacks only the last two.
    ratio = 2.0 ** (-2 * hurst)
    below = ratio / (1 - ratio) if fine is None else 1.0
    missing = (0, cells.shape[0] - high), (0, cells.shape[1] - wide)
    power = np.pad(two, missing, mode="edge")
    local: Floats = ndimage.gaussian_filter(power, _LOCAL_CELLS, mode="nearest") * below
    last = (cells.shape[0] - inner, cells.shape[1] - inner)
    sigma = np.sqrt(local)[inner : last[0], inner : last[1]]
    whole = bicubic_up(torch.from_numpy(np.ascontiguousarray(sigma)), step).numpy()
    out: Floats = np.full(ground.dem.shape, float(sigma.mean()))
    rows, cols = min(whole.shape[0], out.shape[0]), min(whole.shape[1], out.shape[1])
    out[:rows, :cols] = whole[:rows, :cols]
    return np.maximum(out, 0).astype(np.float32)


def _missed(cells: Floats) -> Floats:
    """Squared error of the bicubic of cells twice as large."""
    coarse = torch.from_numpy(block_nanmean(cells, 2))
    missed: Floats = (cells - bicubic_up(coarse, 2).numpy()) ** 2
    return missed


@dataclass(frozen=True)
class Altimetry:
    """Withheld altimeter hits, and the error of a spline through the others.

    Attributes
    ----------
    rows, cols : (n,) withheld pixels. heights, spline : (n,) metres, of the DEM and of a spline of the rest.
    sigma : (H, W) uncertainty of the DEM as a function of the distance from the nearest hit, metres.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    heights: Floats
    spline: Floats
    sigma: NDArray[np.float32]


def withheld_altimetry(ground: SiteGround) -> Altimetry | None:
    """Withhold track-like strips of hit pixels and predict them from the rest; None without enough hits.

    Parameters
    ----------
    ground : fine, with a count map.
    """
    if ground.count is None or ground.layout.kind != "fine":
        return None
    from scipy.interpolate import CloughTocher2DInterpolator

    hit = (np.nan_to_num(ground.count) > 0) & ground.known
    row, col = np.indices(hit.shape)
    # A hit next to another one of its track does not represent a gap: strips are as wide as the gaps. They
    # run along rows and columns, so that tracks of either direction are sampled.
    away = ndimage.distance_transform_edt(~hit)
    gap = 2 * float(np.quantile(away[~hit], 0.9)) if (~hit).any() else 2
    width = int(np.clip(round(gap), 2, _WIDEST))
    period = min(_EVERY * width, min(hit.shape))
    strips = ((row + period // 2) % period < width) | ((col + period // 2) % period < width)
    out, rest = hit & strips, hit & ~strips
    if out.sum() < _LEAST_HITS or rest.sum() < _LEAST_HITS:
        return None
    middle = float(ground.dem[hit].mean())
    spline = CloughTocher2DInterpolator(np.argwhere(rest), ground.dem[rest] - middle)
    rows, cols = np.nonzero(out)
    predicted = spline(np.column_stack([rows, cols])) + middle
    known = np.isfinite(predicted)
    if known.sum() < _LEAST_HITS:
        return None
    rows, cols, predicted = rows[known], cols[known], predicted[known]
    heights = ground.dem[rows, cols]
    near = ndimage.distance_transform_edt(~rest)[rows, cols]
    error = (predicted - heights) ** 2
    edges = np.unique(np.quantile(near, np.linspace(0, 1, 7)))
    centres, power = [0.0], [0.0]
    for low, high in pairwise(edges):
        inside = (near >= low) & (near <= high)
        centres.append(float(near[inside].mean()))
        power.append(max(float(error[inside].mean()), power[-1]))
    known_to = max(centres[-1], 1.0)
    growth = np.maximum(away / known_to, 1.0) ** _GROWTH
    # At the hits themselves, the error is that of the nearest withheld ones.
    power[0] = power[1] if len(power) > 1 else 0.0
    sigma = np.sqrt(np.interp(away, centres, power)) * growth
    return Altimetry(rows, cols, heights, predicted, sigma.astype(np.float32))
