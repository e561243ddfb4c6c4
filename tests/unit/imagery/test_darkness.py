"""Dark level: the lowest mode inside predicted shadows, however much is lit there by mistake."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from image_scenes import SIZE, hills, photograph, rendering, strip

from pipeline.imagery.darkness import MIN_PIXELS, DarkLevel, dark_level

EVERYWHERE = np.ones((SIZE, SIZE), dtype=bool)


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    return rendering(hills(), elevation=4.0)


def test_level_is_found_under_misregistration(scene: tuple[np.ndarray, np.ndarray]) -> None:
    light, share = scene
    image = photograph(light, 1.5, -1.0, gain=2.0, dark=0.013, noise=0.002)
    found = dark_level(image, strip(), share)
    assert found.level == pytest.approx(0.013, abs=0.0005)
    assert found.count >= MIN_PIXELS
    assert found.right == found.up == 0


def test_secondary_light_is_not_dark_level(scene: tuple[np.ndarray, np.ndarray]) -> None:
    light, share = scene
    image = photograph(light, 0.0, 0.0, dark=0.01, noise=0.001)
    image[:, : SIZE // 2] += 0.012
    assert dark_level(image, EVERYWHERE, share).level == pytest.approx(0.01, abs=0.001)


def test_steps_of_the_detector_do_not_matter(scene: tuple[np.ndarray, np.ndarray]) -> None:
    light, share = scene
    image = np.round(photograph(light, 0.0, 0.0, dark=0.0203, noise=0.002) / 0.001) * 0.001
    assert dark_level(image, EVERYWHERE, share).level == pytest.approx(0.0203, abs=0.001)
    flat = np.where(share > 0, 0.5, 0.02)
    assert dark_level(flat, EVERYWHERE, share).level == pytest.approx(0.02)


def test_slope_across_the_image() -> None:
    share = np.zeros((SIZE, SIZE))
    share[::20] = 1
    cols = np.arange(SIZE) - (SIZE - 1) / 2
    noise = 0.001 * np.random.default_rng(0).standard_normal((SIZE, SIZE))
    found = dark_level(0.05 + 1e-4 * cols + noise + share, EVERYWHERE, share)
    assert found.right == pytest.approx(1e-4, rel=0.05) and found.up == 0
    assert found.level == pytest.approx(0.05, abs=3e-4)
    assert np.allclose(found.field(share.shape), 0.05 + 1e-4 * cols, atol=5e-4)


def test_memory_is_that_of_the_image() -> None:
    """Not that of one mask per block, which grows by the square of the image."""
    share = np.zeros((480, 480))
    image = 0.05 + 0.001 * np.random.default_rng(0).standard_normal(share.shape)
    tracemalloc.start()
    assert dark_level(image, np.ones_like(share, dtype=bool), share).count > 200_000
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 40 * image.nbytes


def test_too_few_pixels() -> None:
    share = np.ones((SIZE, SIZE))
    image = np.full((SIZE, SIZE), 0.1)
    assert dark_level(image, EVERYWHERE, share) == DarkLevel(0.0, 0)
    share[50:57, 50:57] = 0  # 9 pixels after erosion
    assert dark_level(image, EVERYWHERE, share) == DarkLevel(0.0, 0)
    assert dark_level(image, ~EVERYWHERE, np.zeros_like(share)) == DarkLevel(0.0, 0)
    assert dark_level(image, EVERYWHERE, np.full_like(share, np.nan)) == DarkLevel(0.0, 0)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="lit_share: expected shape"):
        dark_level(np.zeros((4, 4)), np.ones((4, 4)), np.zeros((4, 5)))
