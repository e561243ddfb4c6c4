"""Interface of the visibility engines: terrain around a patch, visibility of a point Sun and of its disc."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.illumination.far import FarTerrain, far_mesh, filled
from pipeline.illumination.surface import Window, bend, window


class Visibility(ABC):
    """The Sun's visibility from the pixels of a patch, over the patch and its halo.

    Parameters
    ----------
    dem : ``(Y, X)`` elevations, m, row 0 at the top of the map; NaN where there is no terrain (it casts no
        shadow, unless `far` knows it).
    pixel_m : pixel size, m.
    inner : the patch's window in `dem`: ``(top, left, height, width)``, or one slice for both axes. The
        rest only casts shadows.
    curvature : lower the terrain by d^2 / 2R with the distance d from the patch's centre.
    far : coarser terrain around `dem`, or None; see `pipeline.illumination.far`.

    Raises
    ------
    ValueError
        If `pixel_m` is not positive, `dem` is not two-dimensional, or the patch does not lie inside `dem` or
        holds no elevation; with far terrain, if the halo is narrower than two of its cells.
    """

    def __init__(
        self,
        dem: ArrayLike,
        pixel_m: float,
        inner: slice | Window,
        curvature: bool = False,
        far: FarTerrain | None = None,
    ) -> None:
        if not 0 < pixel_m < np.inf:
            raise ValueError(f"pixel_m: expected a positive number, found {pixel_m}")
        metres = np.asarray(dem, dtype=np.float64)
        self._pixel_m, self._inner = float(pixel_m), window(inner, metres.shape)
        if far is not None:
            metres = filled(metres, self._inner, far)
        self._build(bend(metres, self._pixel_m, self._inner) if curvature else metres)
        mesh = None if far is None else far_mesh(far, metres.shape, self._inner, self._pixel_m, curvature)
        self._far = mesh

    @abstractmethod
    def _build(self, metres: NDArray[np.float64]) -> None:
        """Prepare the terrain ``(Y, X)``, m, lowered by the curvature; window and pixel size are set."""

    @abstractmethod
    def lit(self, sun: ArrayLike) -> NDArray[np.bool_]:
        """Pixels that see a point Sun.

        Parameters
        ----------
        sun : ``(D, 3)`` vectors towards the Sun in the map frame (right, up, zenith), of any length.

        Returns
        -------
        ``(D, H, W)``, True where the ray from the pixel to the Sun meets no terrain; False everywhere for a
        Sun at or below the horizon, and where the DEM has no data.

        Raises
        ------
        ValueError
            If a vector is not finite, or zero.
        """

    @abstractmethod
    def share(self, sun: ArrayLike, disc_deg: float, limb_darkening: float = 0.0) -> NDArray[np.float32]:
        """Visible share of the light of the Sun's disc.

        Parameters
        ----------
        sun : ``(D, 3)`` vectors towards the centre of the disc in the map frame, of any length.
        disc_deg : diameter of the disc, degrees (the Sun from the Moon: 0.533).
        limb_darkening : u of the linear law I(mu) / I(1) = 1 - u (1 - mu); 0 for a uniform disc.

        Returns
        -------
        ``(D, H, W)`` in [0, 1]; 0 where there are no data. The part of the disc below the horizontal is dark.

        Raises
        ------
        ValueError
            If a vector is not finite, or zero, `disc_deg` is not in (0, 90), or `limb_darkening` not in
            [0, 1].
        """
