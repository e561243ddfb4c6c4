"""``lunar-bridge sun``: the Sun's direction at a place and time, from SPICE kernels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Literal

from pipeline.illumination.directions import local_to_map_azimuth
from pipeline.illumination.ephemeris import subsolar_track, sun_vector


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the Sun's direction for one place and time; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="lunar-bridge sun",
        description="The sub-solar point, and the Sun's azimuth and elevation at a place on the Moon.",
    )
    parser.add_argument("--kernels", nargs="+", required=True, help="SPICE kernel files")
    parser.add_argument("--utc", required=True, help="ISO time, e.g. 2016-08-14T14:03:33")
    parser.add_argument("--lon", type=float, required=True, help="degrees east")
    parser.add_argument("--lat", type=float, required=True, help="degrees north")
    parser.add_argument("--central-meridian", type=float, default=0.0, help="of the map, degrees east")
    given = parser.parse_args(arguments)
    if not -90 <= given.lat <= 90:
        parser.error(f"--lat: expected within [-90, 90], found {given.lat:g}")
    try:
        track = subsolar_track(given.kernels, given.utc, given.utc, 1.0)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    pole: Literal[1, -1] = 1 if given.lat >= 0 else -1
    azimuth, elevation = sun_vector(given.lon, given.lat, track.lon[0], track.lat[0], track.distance_km[0])
    map_azimuth = local_to_map_azimuth(azimuth, given.lon - given.central_meridian, pole)
    side = "north" if pole > 0 else "south"
    print(f"frame                {track.frame}")
    print(f"sub-solar longitude  {track.lon[0] % 360.0:.4f} deg east")
    print(f"sub-solar latitude   {track.lat[0]:.4f} deg")
    print(f"distance             {track.distance_km[0]:.0f} km")
    print(f"local azimuth        {float(azimuth):.4f} deg clockwise from north")
    print(f"elevation            {float(elevation):.4f} deg")
    print(f"map azimuth          {float(map_azimuth):.4f} deg clockwise from map-up, {side} polar map")
    return 0
