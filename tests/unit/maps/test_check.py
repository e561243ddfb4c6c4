"""The check of a map: what marks a block, what stands instead, the a priori DEM's own uncertainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage

from pipeline.maps.apriori_error import apriori_sigma, withheld_altimetry
from pipeline.maps.check import BLOCK_PX, Evidence, compare_hits, judge, misfit, spread
from pipeline.maps.ground import SiteGround
from pipeline.maps.layout import Layout
from pipeline.maps.render import Rendering
from pipeline.terrain.map_grid import MapGrid, lunar_projection

SIZE = 2 * BLOCK_PX
SURE = np.zeros((2, 2), bool)
SOUTH = "+proj=stere +lat_0=-90 +lon_0=0 +k=1 +R=1737400 +units=m +no_defs"
LIT = np.full((SIZE, SIZE), 5, np.int32)


def evidence(ours: list[list[float]], theirs: list[list[float]], weight: float = 1e4) -> Evidence:
    return Evidence(np.array(ours), np.array(theirs), np.full((2, 2), weight))


def ground(dem: np.ndarray, kind: str = "fine", **more: np.ndarray) -> SiteGround:
    grid = MapGrid(
        lunar_projection(SOUTH).wkt_text, Affine(40.0, 0, 0, 0, -40.0, 50_000), dem.shape[1], dem.shape[0]
    )
    layout = Layout(grid, 0, 0, *dem.shape, kind, 0, 0, 16, kind == "coarse")  # type: ignore[arg-type]
    cells = np.zeros((dem.shape[0] // 16 + 4, dem.shape[1] // 16 + 4))
    known = np.ones(dem.shape, bool)
    return SiteGround(layout, 2, 0, cells, dem, known, dem.astype("f4"), **more)


def test_a_block_where_the_map_does_no_better_is_marked() -> None:
    far_worse = evidence([[50.0, 1.0], [1.0, 1.0]], [[5.0, 5.0], [5.0, 5.0]])
    marked, checked = judge(far_worse, None, LIT, SURE)
    assert checked.all() and marked[0, 0] and not marked[1, 1]


def test_a_better_map_stands_everywhere_and_a_worse_one_nowhere() -> None:
    better, worse = [[1.0, 1.0], [1.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]]
    assert not judge(evidence(better, worse), None, LIT, SURE)[0].any()
    assert judge(evidence(worse, better), None, LIT, SURE)[0].all()


def test_what_was_not_compared_follows_the_whole_and_stands_where_nothing_was() -> None:
    none = evidence([[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], 0.0)
    marked, checked = judge(none, None, LIT, SURE)
    assert not checked.any() and not marked.any()
    little = Evidence(np.full((2, 2), 2.0), np.full((2, 2), 1.0), np.full((2, 2), 3.0))
    assert judge(little, None, LIT, SURE)[0].all()


def test_what_no_image_lights_is_the_a_priori_dem() -> None:
    lit = LIT.copy()
    lit[:BLOCK_PX, :BLOCK_PX] = 0
    better = evidence([[1.0, 1.0], [1.0, 1.0]], [[9.0, 9.0], [9.0, 9.0]])
    assert judge(better, None, lit, SURE)[0].tolist() == [[True, False], [False, False]]


def test_the_a_priori_dem_stands_where_clones_are_less_sure() -> None:
    better = evidence([[1.0, 1.0], [1.0, 1.0]], [[9.0, 9.0], [9.0, 9.0]])
    unsure = np.array([[False, True], [False, False]])
    marked, checked = judge(better, None, LIT, unsure)
    assert marked.tolist() == unsure.tolist() and checked.all()


def test_altimetry_decides_where_it_is() -> None:
    good_light = evidence([[1.0, 1.0], [1.0, 1.0]], [[9.0, 9.0], [9.0, 9.0]])
    bad_hits = evidence([[9.0, 9.0], [9.0, 9.0]], [[1.0, 1.0], [1.0, 1.0]])
    assert judge(good_light, bad_hits, LIT, SURE)[0].all()


def test_marked_blocks_fall_to_nothing_over_some_pixels() -> None:
    share = spread(np.array([[True, False], [False, False]]), (SIZE, SIZE))
    assert (share[:BLOCK_PX, :BLOCK_PX] == 1).all()
    row = share[10, BLOCK_PX:]
    assert (np.diff(row) <= 0).all() and row[0] > 0.8 and row[8] == 0
    assert not spread(np.zeros((2, 2), bool), (SIZE, SIZE)).any()


def test_the_misfit_knows_no_exposure() -> None:
    light = np.random.default_rng(0).uniform(0.2, 1, (20, 20)).astype("f4")
    seen = Rendering(np.ones_like(light), light, light)
    error, known = misfit(3.0 * light.astype(float), seen, 2.0)
    np.testing.assert_allclose(error[known], 0, atol=1e-6)
    dark = np.full((20, 20), np.nan)
    dark[:5] = 3.0 * light[:5]
    assert misfit(dark, seen, 2.0)[1].sum() == 100


# --- the a priori DEM's own uncertainty -------------------------------------------------------------------


def test_a_given_error_map_is_taken() -> None:
    error = np.full((SIZE, SIZE), 2.5, np.float32)
    assert (apriori_sigma(ground(np.zeros((SIZE, SIZE)), error=error)) == 2.5).all()


def test_hits_tell_how_far_a_gap_is_off() -> None:
    """Tracks across a surface: the uncertainty grows with the distance from them and fits the true error."""
    rng = np.random.default_rng(3)
    truth = ndimage.gaussian_filter(rng.normal(size=(192, 192)), 3) * 60
    hit = np.zeros(truth.shape, bool)
    hit[:, ::7] = True
    hit[::11] = True
    rows, cols = np.nonzero(hit)
    from scipy.interpolate import griddata

    everywhere = np.column_stack([axis.ravel() for axis in np.indices(truth.shape)])
    points = np.column_stack([rows, cols])
    dem = griddata(points, truth[hit], everywhere, "nearest").reshape(truth.shape)
    linear = griddata(points, truth[hit], everywhere, "linear").reshape(truth.shape)
    dem = np.where(np.isfinite(linear), linear, dem)
    site = ground(dem, count=hit.astype("f4"))
    found = withheld_altimetry(site)
    assert found is not None
    gaps = ~hit
    error, sigma = np.sqrt(np.mean((dem - truth)[gaps] ** 2)), np.sqrt(np.mean(found.sigma[gaps] ** 2))
    assert 0.5 < sigma / error < 2.5
    # A map that is the truth is nearer to what was withheld than a spline is; a flat one is farther.
    assert compare_hits(found, truth).ratio() < 0.2 < 1 < compare_hits(found, np.zeros_like(truth)).ratio()


def test_too_few_hits_tell_nothing() -> None:
    few = np.zeros((SIZE, SIZE), "f4")
    few[5, :50] = 1
    assert withheld_altimetry(ground(np.zeros((SIZE, SIZE)), count=few)) is None
    assert withheld_altimetry(replace(ground(np.zeros((SIZE, SIZE))), count=None)) is None


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_rougher_ground_is_less_certain(scale: float) -> None:
    noise = np.random.default_rng(1).normal(size=(SIZE, SIZE))
    rough = ndimage.gaussian_filter(noise, 4) * 100
    one, more = (apriori_sigma(ground(rough * s)).mean() for s in (1.0, scale))
    assert more == pytest.approx(one * scale, rel=1e-4)
