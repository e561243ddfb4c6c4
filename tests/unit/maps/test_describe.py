"""The plan of a map says what it will be before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from raster_files import relief, write_tif

from pipeline.config.maps import MapSection
from pipeline.config.site import SiteSection
from pipeline.maps.describe import plan_lines
from pipeline.maps.layout import lay_out

FACTOR, WINDOW = 16, 32


def plan(dem: Path, **site: Any) -> str:
    section = SiteSection(dem=str(dem), **site)
    layout = lay_out(section, FACTOR, WINDOW)
    return "\n".join(plan_lines(layout, [], MapSection(stride_px=16), WINDOW, section.pixel_m))


@pytest.mark.parametrize(("own", "finer"), [(640.0, "40"), (60.0, "3.75")])
def test_a_map_at_the_dems_own_pixels_says_how_to_get_a_finer_one(
    tmp_path: Path, own: float, finer: str
) -> None:
    dem = write_tif(tmp_path / "dem.tif", relief(40, 40), pixel=own)
    said = f"map at the DEM's own {own:g} m; for a 16 times finer map set site.pixel_m (--pixel) to {finer}"
    lines = plan(dem).splitlines()
    assert f"         {said}" in lines[lines.index("DEM:     fine") + 1 :]
    # The advice holds, and whoever follows it, or asks for the DEM's pixels, gets none.
    taken = plan(dem, pixel_m=float(finer))
    assert "DEM:     coarse, cells kept exactly" in taken and "the DEM's own" not in taken
    assert "the DEM's own" not in plan(dem, pixel_m=own)


def test_no_map_of_impossible_pixels_is_advised(tmp_path: Path) -> None:
    """A DEM of 5 m makes no map of 0.31 m: no image shows that."""
    assert "the DEM's own" not in plan(write_tif(tmp_path / "dem.tif", relief(40, 40), pixel=5.0))
