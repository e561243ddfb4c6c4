"""Samples of rendered scenes: an a priori DEM as users have it, and images of one set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shard_files import FACTOR, HALO, PIXEL_M, RELIEF, SIZE, make_manifest

from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.masks import StripDraw
from pipeline.config.scene_draw import SceneDraw
from pipeline.shards.scene_samples import SceneSample, assemble_scenes, read_scene
from pipeline.shards.shard_set import ShardSet
from pipeline.terrain.blocks import block_mean

CELLS = HALO // FACTOR


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return ShardSet(make_manifest(tmp_path_factory.mktemp("scenes"), tiles=1, scenes=True), "train")


def samples(shards: ShardSet, count: int = 40, masks: Any = None, **draw: Any) -> list[SceneSample]:
    section = SceneDraw(**draw)
    out = []
    for number in range(count):
        shard, patch = shards.at(number % len(shards))
        rng = np.random.default_rng([7, number])
        out.append(read_scene(shard, patch, rng, section, masks, CELLS))
    return out


def truth(shards: ShardSet, number: int, sample: SceneSample) -> np.ndarray:
    """The patch's terrain under the relief of a set: of that of the sample's images, if it has any."""
    shard, patch = shards.at(number % len(shards))
    whole = shard.dem(patch)[HALO : HALO + SIZE, HALO : HALO + SIZE]
    of_sun = dict(zip(map(tuple, shard.scene_suns[patch]), shard.scene_reliefs[patch], strict=True))
    reliefs = {of_sun[tuple(sun)] for sun in sample.suns} or {np.float32(1), np.float32(RELIEF)}
    found = [whole * relief for relief in reliefs if np.array_equal(sample.dem, whole * relief)]
    assert len(found) == 1
    return found[0]


def test_cells_are_exact_block_means(shards: ShardSet) -> None:
    for number, sample in enumerate(samples(shards, 5, cell_error_share=0)):
        assert sample.cell_error == 0 and not sample.spots.any()
        np.testing.assert_array_equal(sample.dem, truth(shards, number, sample))
        inner = sample.lr[CELLS:-CELLS, CELLS:-CELLS]
        np.testing.assert_allclose(inner, block_mean(truth(shards, number, sample), FACTOR), atol=1e-2)


def test_cells_with_errors_have_the_error_that_they_tell(shards: ShardSet) -> None:
    found = samples(shards, 200, cell_error_share=1, cell_error_px={"low": 0.1, "high": 0.1})
    off = [
        s.lr[CELLS:-CELLS, CELLS:-CELLS] - block_mean(truth(shards, n, s), FACTOR)
        for n, s in enumerate(found)
    ]
    np.testing.assert_allclose([s.cell_error for s in found], 0.1 * PIXEL_M)
    assert np.std(off) == pytest.approx(0.1 * PIXEL_M, rel=0.1)


def test_altimetry_measures_the_terrain_where_it_has_spots(shards: ShardSet) -> None:
    exact = {"exact": 1.0, "coverage": {"low": 0.3, "high": 0.9}}
    found = samples(shards, 10, apriori="altimetry", altimetry=exact)
    for number, sample in enumerate(found):
        hit = sample.spots > 0
        assert np.isinf(sample.cell_error) and 0.15 < hit.mean() < 1
        # A pixel's spots are means of the terrain somewhere in it.
        steep = np.ptp(truth(shards, number, sample)) / SIZE
        assert np.abs(sample.heights - truth(shards, number, sample))[hit].mean() < 2 * steep


@pytest.mark.parametrize("own", [1.0, 0.5, 0.0])
def test_spots_lie_where_the_count_map_has_them(tmp_path: Path, own: float) -> None:
    counted = ShardSet(make_manifest(tmp_path, tiles=1, scenes=True, counts=True), "train")
    dense = {"coverage": {"low": 0.7, "high": 0.9}, "own": own}
    found = samples(counted, 60, apriori="altimetry", altimetry=dense)
    every_third = np.arange(SIZE) % 3 == 0
    as_counted = [
        np.array_equal(s.spots, np.where(every_third, s.spots[:, :1], 0)) and s.spots[0, 0] > 0 for s in found
    ]
    assert np.mean(as_counted) == pytest.approx(own, abs=0.2 * (0 < own < 1))
    numbers = {int(s.spots[0, 0]) for s, counted in zip(found, as_counted, strict=True) if counted}
    assert numbers == ({2, 3, 4, 5, 6} if own else set())  # the first of six patches validates


def test_samples_without_a_count_map_do_not_depend_on_its_share(shards: ShardSet) -> None:
    one, other = (samples(shards, 5, apriori="altimetry", altimetry={"own": own}) for own in (0.0, 1.0))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.heights, b.heights)


def test_kinds_are_mixed_in_their_shares(shards: ShardSet) -> None:
    dense = {"coverage": {"low": 0.5, "high": 0.9}}
    shares = {"altimetry_share": 0.5, "cell_error_share": 0.4}
    found = samples(shards, 400, apriori="mixed", altimetry=dense, **shares)
    with_altimetry = np.mean([np.isinf(s.cell_error) for s in found])
    assert with_altimetry == pytest.approx(0.5, abs=0.1)
    assert np.mean([0 < s.cell_error < np.inf for s in found]) == pytest.approx(0.2, abs=0.08)


def test_images_are_those_of_one_set_and_any_number_of_them(shards: ShardSet) -> None:
    counts = []
    for number, sample in enumerate(samples(shards, 300)):
        shard, patch = shards.at(number % len(shards))
        counts.append(len(sample.images))
        for image, sun in zip(sample.images, sample.suns, strict=True):
            same = np.flatnonzero((shard.scene_suns[patch] == sun).all(axis=1))
            np.testing.assert_array_equal(image, shard.scene_images(patch, same)[0])
        sets = {int(shard.scene_sets[patch][(shard.scene_suns[patch] == s).all(1)][0]) for s in sample.suns}
        assert len(sets) <= 1
    assert min(counts) == 0 and max(counts) == 6
    # floor(7 u^1.5) is 0 with probability (1 / 7)^(2/3).
    assert np.mean(np.array(counts) == 0) == pytest.approx((1 / 7) ** (2 / 3), abs=0.08)


def test_frames_of_one_id_come_twice(shards: ShardSet) -> None:
    alone, twice = (samples(shards, 40, images_power=0, pairs_share=share) for share in (0.0, 0.5))
    pairs = 0
    for one, other in zip(alone, twice, strict=True):
        assert len(other.suns) == len(one.suns)
        same = (other.suns[1:] == other.suns[:-1]).all(axis=1)
        np.testing.assert_array_equal(other.images[1:][same], other.images[:-1][same])
        assert not (same[1:] & same[:-1]).any()  # never three
        pairs += int(same.sum())
    # Of six images about four are drawn, each twice with an even chance.
    assert 1.3 < pairs / len(twice) < 2.7


def test_a_batch_holds_what_its_samples_say(shards: ShardSet) -> None:
    found = samples(
        shards, 12, apriori="mixed", masks=StripDraw(share=1.0, half_width_px={"low": 2, "high": 4})
    )
    batch = assemble_scenes(found, CELLS, FACTOR)
    for row, sample in enumerate(found):
        level = batch.reference[row].numpy()
        torch.testing.assert_close(batch.dem[row], torch.from_numpy(sample.dem) - level, atol=1e-3, rtol=0)
        assert batch.cell_error[row] == sample.cell_error
        assert int(batch.present[row].sum()) == len(sample.images)
        hit = torch.from_numpy(sample.spots > 0)
        if hit.any():
            heights = torch.from_numpy(sample.heights) - level
            torch.testing.assert_close(batch.prior[row][hit], heights[hit], atol=1e-3, rtol=0)
            assert torch.isfinite(batch.prior[row]).all()
            own = block_mean(batch.prior[row], FACTOR)
            torch.testing.assert_close(batch.lr[row, CELLS:-CELLS, CELLS:-CELLS], own)
    assert not batch.images[~batch.valid].any()
    seen = batch.valid[batch.present].float().mean(dim=(1, 2))
    assert seen.max() < 1  # every image lost data to its strip


def test_samples_do_not_depend_on_their_neighbours(shards: ShardSet) -> None:
    found = samples(shards, 6, apriori="mixed")
    cameras = ImperfectionsSection(exposure=0.1, clip=0.5, dark={"offset": 0.05, "ramp": 0.02})

    def made(chosen: list[int]) -> Any:
        rngs = [np.random.default_rng([3, n]) for n in chosen]
        return assemble_scenes([found[n] for n in chosen], CELLS, FACTOR, "cpu", cameras, rngs)

    whole, one = made(list(range(6))), made([4])
    count = len(found[4].images)
    torch.testing.assert_close(whole.images[4, :count], one.images[0, :count])
    torch.testing.assert_close(whole.prior[4], one.prior[0])
