"""Block means of arrays and tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from pipeline.terrain.blocks import block_mean


def test_arrays_and_tensors_have_the_same_block_means() -> None:
    dem = np.arange(2 * 4 * 6, dtype=float).reshape(2, 4, 6)
    wanted = [[dem[k, i : i + 2, j : j + 2].mean() for i in (0, 2) for j in (0, 2, 4)] for k in (0, 1)]
    assert_array_equal(block_mean(dem, 2), np.reshape(wanted, (2, 2, 3)))
    assert_array_equal(block_mean(torch.from_numpy(dem), 2).numpy(), block_mean(dem, 2))


def test_means_are_accumulated_in_the_type_asked_for() -> None:
    dem = np.full((2, 2), 16_777_216, np.float32)
    dem[1] += 2
    assert block_mean(dem, 2, np.float64).dtype == np.float64
    assert block_mean(dem, 2, np.float64)[0, 0] == 16_777_217  # no float32 is that
    assert block_mean(dem, 2).dtype == np.float32


def test_a_block_with_a_gap_is_a_gap() -> None:
    dem = np.zeros((4, 4))
    dem[0, 3] = np.nan
    assert_array_equal(block_mean(dem, 2), [[0, np.nan], [0, 0]])


def test_a_map_must_divide_into_blocks() -> None:
    with pytest.raises(ValueError, match="divisor of the map's 4 x 6 pixels, found 4"):
        block_mean(np.zeros((4, 6)), 4)
