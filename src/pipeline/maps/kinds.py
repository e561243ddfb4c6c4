"""The files of a map. Rules use these names too, so this module imports no computing code."""

from __future__ import annotations

from pipeline.maps.rasters import Kind

#: Contents of the GeoTIFFs, by name.
KINDS = {
    "mean": Kind("height, mean of the clones", "m"),
    "std": Kind("standard deviation of the height", "m"),
    "prior": Kind("height, a priori DEM", "m"),
    "lit": Kind("images that light the pixel", "1", "uint16", None),
    "azimuth_gap": Kind("widest gap between the azimuths of the images that light the pixel", "deg"),
    "class": Kind(
        "what decides: 1 images, 2 images and a priori DEM, 3 a priori DEM; 0 no data", "1", "uint8", 0,
        average=False,
    ),
    "slope": Kind("slope of the mean height", "deg"),
    "slope_std": Kind("standard deviation of the slope", "deg"),
    "steep": Kind("share of clones with a steep slope", "1"),
    "hillshade": Kind("shaded relief of the mean height, light from the upper left", "1"),
    "clones": Kind("height, clone", "m"),
}  # fmt: skip
#: Names of the files of ``results/<run>/map/`` that are not GeoTIFFs.
DOCUMENTS = {
    "images": "images.csv", "map": "map.json", "quicklook": "quicklook.png", "viewer": "viewer.html",
    "stac": "stac.json",
}  # fmt: skip
