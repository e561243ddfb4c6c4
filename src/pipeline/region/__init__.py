"""Regions of any size: tiling, blending and GeoTIFF products."""
