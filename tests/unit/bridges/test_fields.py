"""Noise fields over a map: one field for a clone's windows, of unit variance wherever a window begins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from pipeline.bridges.base import normal, one_for_each, shared_by_clones, uniform
from pipeline.bridges.fields import NoiseField, WindowNoise, stratified_normal

SIZE = 96
HERE = {"seed": 7, "clone": 0, "row": 48, "col": 144, "size": SIZE}


def drawn(shape: tuple[int, ...] = (1, SIZE, SIZE), skip: int = 0, **changes: int) -> np.ndarray:
    """The tensor that a window draws after `skip` others."""
    noise = NoiseField(**{**HERE, **changes})
    for _ in range(skip):
        noise.normal(shape)
    return noise.normal(shape).numpy()


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


# --- one field over the map -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    cell=st.sampled_from([1, 2, 4, 8]),
    row=st.integers(0, 12),
    col=st.integers(0, 12),
    down=st.integers(0, 11),
    right=st.integers(0, 11),
)
def test_windows_agree_where_they_overlap(cell: int, row: int, col: int, down: int, right: int) -> None:
    """Windows that lie whole cells apart hold the same numbers at a place, over blocks of the field too."""
    n = SIZE // cell
    first = drawn((2, n, n), row=row * 8 + 3, col=col * 8)
    second = drawn((2, n, n), row=(row + down) * 8 + 3, col=(col + right) * 8)
    i, j = down * 8 // cell, right * 8 // cell
    np.testing.assert_array_equal(first[:, i:, j:], second[:, : n - i, : n - j])


def test_a_field_does_not_repeat_itself() -> None:
    wide = drawn(row=0, col=0, size=192, shape=(1, 192, 192))[0]
    blocks = wide.reshape(3, 64, 3, 64).swapaxes(1, 2).reshape(9, -1)
    apart = np.corrcoef(blocks) - np.eye(9)
    assert np.abs(apart).max() < 5 / 64


@pytest.mark.parametrize("change", [{"seed": 8}, {"clone": 1}, {"clone": -1}, {"skip": 1}])
def test_a_field_depends_on_seed_clone_and_number(change: dict[str, int]) -> None:
    other = drawn(**change)
    assert abs(correlation(drawn(), other)) < 5 / SIZE
    np.testing.assert_array_equal(other, drawn(**change))


def test_channels_are_fields_of_their_own_whatever_their_number() -> None:
    one, three = drawn((1, SIZE, SIZE)), drawn((3, SIZE, SIZE))
    np.testing.assert_array_equal(one[0], three[0])
    assert abs(correlation(three[0], three[1])) < 5 / SIZE
    assert abs(correlation(three[1], three[2])) < 5 / SIZE


def test_the_shape_of_earlier_tensors_does_not_matter() -> None:
    noise = NoiseField(**HERE)
    noise.normal((5, 12, 12))
    noise.normal((1, 1, 1))
    np.testing.assert_array_equal(noise.normal((1, SIZE, SIZE)), drawn(skip=2))


def test_cells_of_one_size_are_not_pixels_of_another() -> None:
    fine, coarse = drawn((1, 96, 96), row=0, col=0), drawn((1, 48, 48), row=0, col=0)
    assert abs(correlation(fine[0, :48, :48], coarse[0])) < 5 / 48


# --- its law ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "col"), [(0, 0), (4, 0), (0, 5), (3, 6), (7, 1)])
def test_numbers_are_standard_normal_wherever_a_window_begins(row: int, col: int) -> None:
    """Of cells of 8 px, also where the window does not begin on one."""
    values = drawn((40, 12, 12), row=row, col=col).astype(np.float64)
    count = values.size / (2 if row or col else 1)  # mixed neighbours are correlated
    assert abs(values.mean()) < 6 / np.sqrt(count)
    assert abs(values.var() - 1) < 6 * np.sqrt(2 / count)
    assert abs((values**4).mean() - 3) < 6 * np.sqrt(96 / count)


def test_a_window_between_cells_mixes_its_neighbours() -> None:
    """Half way between two cells a value is their sum over sqrt 2; a quarter of the way, nearer to one."""
    on, between, near = (drawn((1, 12, 12), row=row, col=0)[0] for row in (0, 4, 2))
    np.testing.assert_allclose(between[:-1], (on[:-1] + on[1:]) / np.sqrt(2), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(near[:-1], (3 * on[:-1] + on[1:]) / np.sqrt(10), rtol=1e-6, atol=1e-6)


def test_single_numbers_are_the_clones() -> None:
    here = drawn((2, 1, 1))
    np.testing.assert_array_equal(here, drawn((2, 1, 1), row=1000, col=3))
    assert here[0] != here[1]
    numbers = [drawn((1, 1, 1), clone=clone).item() for clone in range(64)]
    assert abs(np.mean(numbers)) < 5 / 8
    assert abs(np.std(numbers) - 1) < 0.18


def test_stratified_numbers_are_standard_normal_each_and_even_together() -> None:
    table = np.array([[stratified_normal((7, key), number) for number in range(8)] for key in range(250)])
    assert abs(table.mean()) < 5 / np.sqrt(table.size)
    assert kstest(table[:, 0], "norm").pvalue > 1e-3 and kstest(table[:, 5], "norm").pvalue > 1e-3
    # One in each eighth of absolute values: the mean square of 8 hardly varies.
    eighths = np.sort(np.floor(8 * (2 * norm.cdf(np.abs(table)) - 1)), axis=1)
    np.testing.assert_array_equal(eighths, np.broadcast_to(np.arange(8), eighths.shape))
    squares = (table**2).mean(axis=1)
    assert squares.std() < 0.28 < 0.4 < (norm.rvs(size=table.shape, random_state=0) ** 2).mean(axis=1).std()
    # Keys have sequences of their own.
    sizes = np.abs(table)
    assert abs(np.corrcoef(sizes[::2].ravel(), sizes[1::2].ravel())[0, 1]) < 5 / np.sqrt(1000)


@pytest.mark.parametrize("cells", [(96, 48), (95, 95), (192, 192), (1, 2)])
def test_cells_that_do_not_divide_the_window_are_refused(cells: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"noise: expected cells.*96 px, found {cells[0]} x {cells[1]}"):
        drawn((1, *cells))


# --- as the source of a batch's noise ---------------------------------------------------------------------


def test_a_batch_takes_each_samples_own_noise() -> None:
    sources = [WindowNoise(7, 0, 0), WindowNoise(7, 0, 48)]
    each = one_for_each(sources, 3)
    like = torch.empty(6, 2, SIZE, SIZE, dtype=torch.float64)
    whole = normal(like, each)
    assert whole.dtype == torch.float64
    for number in range(3):
        left, right = whole[number], whole[3 + number]
        np.testing.assert_array_equal(left, drawn((2, SIZE, SIZE), row=0, col=0, clone=number))
        np.testing.assert_array_equal(left[:, :, 48:], right[:, :, :48])
    # The next tensor is another one.
    assert abs(correlation(whole.numpy(), normal(like, each).numpy())) < 0.02


def test_streams_pass_through_and_serve_all_clones_of_a_sample() -> None:
    stream = torch.Generator().manual_seed(3)
    assert one_for_each([stream], 2) == [stream, stream]
    assert shared_by_clones([stream]) == [stream]
    like = torch.empty(2, 1, 4, 4)
    expected = torch.randn((2, 1, 4, 4), generator=torch.Generator().manual_seed(3))
    np.testing.assert_array_equal(normal(like, one_for_each([stream], 2)), expected)


def test_what_clones_share_is_none_of_theirs() -> None:
    (shared,) = shared_by_clones([WindowNoise(7, 48, 144)])
    assert isinstance(shared, NoiseField)
    value = shared.normal((1, SIZE, SIZE)).numpy()
    np.testing.assert_array_equal(value, drawn(clone=-1))


def test_a_window_source_starts_anew_for_each_call() -> None:
    source = WindowNoise(7, 48, 144)
    source.clone(0).normal((1, SIZE, SIZE))
    np.testing.assert_array_equal(source.clone(0).normal((1, SIZE, SIZE)), drawn())
    assert replace(source, row=0) != source


def test_wrong_use_is_refused() -> None:
    each = one_for_each([WindowNoise(7)], 2)
    with pytest.raises(ValueError, match="generator: expected one per sample, 3 in all, found 2"):
        normal(torch.empty(3, 1, SIZE, SIZE), each)
    with pytest.raises(
        ValueError, match=r"expected torch\.Generator for uniform numbers, found a noise field"
    ):
        uniform(2, each)
