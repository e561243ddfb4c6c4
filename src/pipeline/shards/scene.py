"""Image sets: the images of a patch, drawn again for each training sample or read from the fixed draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.config.arcs import ArcDraw
from pipeline.config.masks import StripDraw
from pipeline.illumination.directions import NoUsableDirectionError, draw_arc_set, exact_directions
from pipeline.illumination.ephemeris import SunTrack, own_suns
from pipeline.illumination.missing import draw_strip
from pipeline.shards.reader import Shard

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageSet:
    """The images of one patch.

    Attributes
    ----------
    group : ``fixed`` or ``fibonacci``.
    images : indices into the group's directions, (n,).
    suns : unit vectors to the Sun, (n, 3), map frame.
    strips : missing data, (n, 4) or (n, 14), see `pipeline.illumination.missing`; None for complete images.
    """

    group: Literal["fixed", "fibonacci"]
    images: NDArray[np.int64]
    suns: Floats
    strips: Floats | None = None


#: For work on the terrain only.
NO_IMAGES = ImageSet("fixed", np.zeros(0, np.int64), np.zeros((0, 3)))


def draw_strips(rng: np.random.Generator, masks: StripDraw, shard: Shard, patch: int, count: int) -> Floats:
    """Draw missing data of `count` images of a patch, one row per image."""
    where = (shard.places[patch], float(shard.attrs["pixel_m"])) if masks.kind == "nac" else ()
    return np.array(
        [draw_strip(rng, masks, int(shard.attrs["size_px"]), *where) for _ in range(count)], float
    )


class Scene(Protocol):
    """A source of image sets."""

    def image_set(self, shard: Shard, patch: int, rng: np.random.Generator) -> ImageSet:
        """The images of one patch of a shard."""


@dataclass(frozen=True)
class FibonacciScene:
    """First training stage: the patch's own jittered Fibonacci directions, with replacement.

    Attributes
    ----------
    images : smallest and largest number of images per set.
    """

    images: tuple[int, int] = (5, 100)

    def image_set(self, shard: Shard, patch: int, rng: np.random.Generator) -> ImageSet:
        """Draw a set; directions below the horizon and entirely dark images are left out.

        Raises
        ------
        ValueError
            If none is left.
        """
        suns, present = shard.fibonacci_suns(patch)
        usable = np.flatnonzero(present & shard.lit_any("fibonacci", patch))
        if not len(usable):
            raise ValueError(
                f"{shard.path}: patch {shard.ids[patch]}: expected a lit Fibonacci image, found none"
            )
        count = int(rng.integers(self.images[0], self.images[1] + 1))
        chosen = rng.choice(usable, count, replace=True)
        return ImageSet("fibonacci", chosen, suns[chosen].astype(float))


@dataclass(frozen=True)
class ArcScene:
    """Second and third training stage: a Sun arc at assumed or true coordinates, drawn for each sample.

    Attributes
    ----------
    draw : kind of place; ranges of its coordinates, the declination and the number of images.
    tolerance : largest chord distance of usable directions from the arc (unit vectors).
    strips : missing data (third stage), or None.
    track : the Sun's track, if the draw's place is ``ephemeris``.
    """

    draw: ArcDraw
    tolerance: float
    strips: StripDraw | None = None
    track: SunTrack | None = None

    def image_set(self, shard: Shard, patch: int, rng: np.random.Generator) -> ImageSet:
        """Draw coordinates, images from the usable directions there, and their strips.

        Raises
        ------
        NoUsableDirectionError
            If no direction is usable; the message names the shard and the patch.
        """
        lit = shard.lit_any("fixed", patch)
        place = None if self.draw.place == "assumed" else shard.places[patch]
        suns = own_suns(self.draw, place, self.track)
        fixed = exact_directions(shard.fixed_suns)
        try:
            _, _, chosen = draw_arc_set(self.draw, self.tolerance, rng, lit, place, suns, fixed)
        except NoUsableDirectionError as error:
            raise NoUsableDirectionError(f"{shard.path}: patch {shard.ids[patch]}: {error}") from None
        strips = None
        if self.strips is not None:
            strips = draw_strips(rng, self.strips, shard, patch, len(chosen))
        return ImageSet("fixed", chosen, shard.fixed_suns[chosen].astype(float), strips)


@dataclass(frozen=True)
class StoredScene:
    """The fixed draws of a test shard.

    Attributes
    ----------
    name : the draw's name in `arcs.test`.
    missing : whether to apply the stored strips.
    """

    name: str
    missing: bool

    def image_set(self, shard: Shard, patch: int, rng: np.random.Generator) -> ImageSet:
        """The stored set of the patch; `rng` is not used."""
        draws = shard.draws(self.name)
        images = draws["images"][patch]
        chosen = images[images >= 0].astype(np.int64)
        strips = draws["strips"][patch][: len(chosen)] if self.missing else None
        return ImageSet("fixed", chosen, shard.fixed_suns[chosen].astype(float), strips)


@dataclass(frozen=True)
class AllFibonacciScene:
    """All of a patch's Fibonacci images, each once: the published first stage, and an evaluation."""

    def image_set(self, shard: Shard, patch: int, rng: np.random.Generator) -> ImageSet:
        """All directions above the horizon whose images are not entirely dark; `rng` is not used."""
        suns, present = shard.fibonacci_suns(patch)
        chosen = np.flatnonzero(present & shard.lit_any("fibonacci", patch))
        return ImageSet("fibonacci", chosen, suns[chosen].astype(float))
