"""What all pictures share: shading, round lengths, panels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from report_run import heights

from pipeline.config.photometry import PhotometrySection
from pipeline.drawing.relief import hillshade, stretch
from pipeline.drawing.style import metres_text, new_figure, round_down, round_up, scale_bar, show_map
from pipeline.illumination.directions import vectors
from pipeline.illumination.photometry import radiance


def test_level_ground_is_as_bright_as_the_light_is_high() -> None:
    np.testing.assert_allclose(hillshade(np.zeros((5, 7)), 20.0), np.sin(np.radians(35)))


def test_a_slope_that_faces_the_light_is_fully_lit_and_its_back_is_dark() -> None:
    y, x = np.mgrid[:9, :9]
    # Normal to a plane that rises towards the lower right by tan(90 - 35) faces the upper left light.
    rise = np.tan(np.radians(90 - 35)) * (x + y) / np.sqrt(2) * 20.0
    np.testing.assert_allclose(hillshade(rise, 20.0), 1.0)
    np.testing.assert_allclose(hillshade(-rise, 20.0), 0.0, atol=1e-12)


@pytest.mark.parametrize(("azimuth", "elevation"), [(315.0, 35.0), (20.0, 10.0), (200.0, 70.0)])
def test_hillshade_is_the_lambert_radiance(azimuth: float, elevation: float) -> None:
    dem = heights(24, 31).astype(float)
    sun = torch.from_numpy(vectors(azimuth, elevation))[None]
    law = PhotometrySection(law="lambert", albedo=1.0)
    expected = radiance(torch.from_numpy(dem), 20.0, sun, None, law)[0].numpy() / np.pi
    np.testing.assert_allclose(hillshade(dem, 20.0, azimuth, elevation), expected, atol=1e-12)


def test_missing_data_stay_missing() -> None:
    dem = np.zeros((6, 6))
    dem[2, 3] = np.nan
    assert np.isnan(hillshade(dem, 20.0)[2, 4])
    low, high = stretch(np.full((4, 4), 0.3))
    assert low < 0.3 < high


@given(st.floats(1e-6, 1e9))
def test_round_lengths(value: float) -> None:
    down, up = round_down(value), round_up(value)
    assert down <= value * (1 + 1e-9) and value < 2.5 * down * (1 + 1e-9)
    assert value <= up * (1 + 1e-9) and up <= 1.1 * value * (1 + 1e-9)
    assert f"{down:.1e}"[0] in "125"


def test_lengths_have_units() -> None:
    assert (metres_text(500.0), metres_text(2000.0)) == ("500 m", "2 km")
    assert round_up(0.0) == round_up(float("nan")) == 1.0


def test_a_panel_has_its_scale_and_its_unit() -> None:
    figure = new_figure(4, 4)
    axis = figure.subplots()
    panel = show_map(axis, np.zeros((40, 60)), "magma", (-1.0, 2.0), "heights", "m", "max")
    scale_bar(axis, 60, 20.0)
    assert panel.get_clim() == (-1.0, 2.0) and axis.get_title() == "heights"
    bar = figure.axes[1]
    assert bar.get_xlabel() == "m"
    # The round length below a 3.5th of 60 pixels of 20 m.
    assert axis.artists[0].txt_label.get_text() == "200 m"
