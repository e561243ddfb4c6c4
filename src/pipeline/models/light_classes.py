"""Classes of pixels by the number of images that light them, and by the nearness of shadow edges."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.batch import Batch
from pipeline.models.photometric import set_radiance

#: Classes of pixels, in the order of their numbers.
CLASSES = ("shadow-free", "penumbra", "lit by 1-2 images", "dark")
#: Least number of images for photometric stereo.
ENOUGH = 3
#: Largest distance from a shadow's edge at which a pixel counts as penumbra.
REACH_PX = 2


def light_classes(batch: Batch) -> Tensor:
    """The class of every pixel, (B, P, P) indices into `CLASSES`.

    A pixel is lit where it is brighter than the set's shadows
    (`pipeline.models.photometric.set_radiance`), and dark where no image lights it. Of the pixels lit by at
    least `ENOUGH` images, those are penumbra that lie within `REACH_PX` pixels of a shadow in most of these
    images.

    Parameters
    ----------
    batch : B sample sets.
    """
    radiance, threshold = set_radiance(batch.images, batch.valid, batch.present)
    valid = batch.valid & batch.present[..., None, None]
    lit = valid & (batch.images > (radiance * threshold)[:, None, None, None])
    shadow = (valid & ~lit).float()
    beside = F.max_pool2d(shadow, 2 * REACH_PX + 1, stride=1, padding=REACH_PX) > 0
    count, edges = lit.sum(dim=1), (lit & beside).sum(dim=1)
    out = torch.where(2 * edges > count, CLASSES.index("penumbra"), CLASSES.index("shadow-free"))
    out = torch.where(count < ENOUGH, CLASSES.index("lit by 1-2 images"), out)
    return torch.where(count == 0, CLASSES.index("dark"), out)
