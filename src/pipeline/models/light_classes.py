"""Which pixels images tell of: by how many light them, and whether shadows end beside them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.batch import Batch
from pipeline.models.photometric import set_radiance

#: Classes of pixels, in the order of their numbers.
CLASSES = ("shadow-free", "penumbra", "lit by 1-2 images", "dark")
#: Images that photometric stereo asks for.
ENOUGH = 3
#: A pixel so near to a shadow's edge counts as lying on it.
REACH_PX = 2


def light_classes(batch: Batch) -> Tensor:
    """The class of every pixel, (B, P, P) indices into `CLASSES`.

    A pixel is lit where it is brighter than the set's shadows
    (`pipeline.models.photometric.set_radiance`). No image lights a dark one. Of those that at least `ENOUGH`
    images light, penumbra is where, in most of these images, a shadow lies within `REACH_PX` pixels.

    Parameters
    ----------
    batch : B sample sets.
    """
    radiance, threshold = set_radiance(batch.images, batch.valid, batch.present)
    seen = batch.valid & batch.present[..., None, None]
    lit = seen & (batch.images > (radiance * threshold)[:, None, None, None])
    shadow = (seen & ~lit).float()
    beside = F.max_pool2d(shadow, 2 * REACH_PX + 1, stride=1, padding=REACH_PX) > 0
    count, edges = lit.sum(dim=1), (lit & beside).sum(dim=1)
    out = torch.where(2 * edges > count, CLASSES.index("penumbra"), CLASSES.index("shadow-free"))
    out = torch.where(count < ENOUGH, CLASSES.index("lit by 1-2 images"), out)
    return torch.where(count == 0, CLASSES.index("dark"), out)
