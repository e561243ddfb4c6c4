"""Images of the test patches under the fixed directions, for users; no stage reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.photometry import PhotometrySection
from pipeline.shards.surface import edge_surface
from pipeline.storage.store import StoreWriter


@dataclass(frozen=True)
class RadianceWriter:
    """Writes ``fixed/radiance`` (patch, direction, y, x) of a shard.

    The values are what training and evaluation compute for the same patch and direction, without
    imperfections or missing data: radiance factor I/F (radiance over that of a white Lambert surface under a
    Sun at its zenith), times the visible share of the Sun. float16 keeps 11 bits: a relative error of at most
    2^-11 (0.05 %) from 6.1e-5 up, an absolute one of at most 3e-8 below.

    Attributes
    ----------
    photometry : reflectance law.
    """

    photometry: PhotometrySection

    def __call__(self, writer: StoreWriter, attrs: dict[str, Any], dems: Any, light: Any, rows: Any) -> None:
        """Compute and write the images, one patch at a time.

        Parameters
        ----------
        writer : store that is being written. attrs : its root attributes.
        dems : (patch, y, x) heights with halo, m, of the shard's patches.
        light : group ``fixed`` of the tile's visibility store. rows : each patch's row in it.
        """
        import torch  # slow to import, and only needed for images

        from pipeline.illumination.photometry import radiance

        size, halo = int(attrs["size_px"]), int(attrs["halo_px"])
        sun = light["sun"].values
        shape = (len(rows), len(sun), size, size)
        law = {"law": self.photometry.law, "photometry": self.photometry.model_dump(mode="json")}
        about = {"units": "1", "long_name": "radiance factor I/F", **law}
        dims, chunks = ("patch", "direction", "y", "x"), (1, *shape[1:])
        target = writer.create("fixed/radiance", shape, np.float16, dims, chunks, about, compress=True)
        suns = torch.from_numpy(sun)
        for patch, row in enumerate(rows):
            surface = edge_surface(dems[patch], halo, size, use_halo=int(attrs["light_halo_px"]) > 0)
            # Relative to the mean height, since float32 loses digits of large heights.
            ground = torch.from_numpy(surface - surface[1:-1, 1:-1].mean())
            full = radiance(ground, float(attrs["pixel_m"]), suns, None, self.photometry)[:, 1:-1, 1:-1]
            if "share" in light:
                visible = light["share"][int(row)].astype(np.float32) / np.float32(255)
            else:
                visible = np.unpackbits(light["lit"][int(row)], axis=-1, count=size).astype(np.float32)
            target[patch] = (full.numpy() * visible).astype(np.float16)


def image_writer(photometry: PhotometrySection | None) -> RadianceWriter | None:
    """The writer of a shard's images under a reflectance law; None without a law."""
    return None if photometry is None else RadianceWriter(photometry)
