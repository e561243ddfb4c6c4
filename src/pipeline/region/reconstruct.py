"""Stage ``region``: a moving window of clones over a region, blended into GeoTIFFs.

The region's a priori DEM is the block mean of the true DEM; images are rendered over all of it, with the
shadows that all of it and the terrain around it cast. Every window is sampled on its own, with random numbers
that depend on the seed and its position alone, and blended by `pipeline.region.blend`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.bridge import SamplerSection
from pipeline.config.illumination import IlluminationSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.region import RegionSection
from pipeline.config.runtime import RuntimeSection
from pipeline.illumination.ephemeris import read_track
from pipeline.jobs.device import pick_device
from pipeline.jobs.progress import track
from pipeline.jobs.seeds import seeded
from pipeline.models.batch import Batch
from pipeline.models.calibration import load_calibrated
from pipeline.models.files import model_config
from pipeline.models.system import System
from pipeline.region.blend import Mosaic, blend_weights
from pipeline.region.ground import Ground, read_ground
from pipeline.region.images import RegionImages, WindowImages
from pipeline.region.outputs import Reconstruction, write_outputs
from pipeline.region.place import find_place, split_map
from pipeline.region.render import render
from pipeline.region.shadows import far_around
from pipeline.region.windows import Window, moving_windows
from pipeline.storage.atomic import read_json
from pipeline.terrain.index import load_terrain

logger = logging.getLogger(__name__)

CLONES_PURPOSE = 0x52530
# Windows a forward pass: fixed, because sums of some kernels depend on it in their last bits.
BATCH = 16
# Pixels of images a batch, at most.
_BATCH_PX = 2**26


@dataclass(frozen=True)
class _Patch:
    """One window on the host, heights in metres above `reference`."""

    window: Window
    lr: NDArray[np.float32]
    prior: NDArray[np.float32]
    reference: float
    seen: WindowImages


def prepare(ground: Ground, images: RegionImages, window: Window, halo_cells: int) -> _Patch:
    """Cut a window out of the region: a priori cells, bicubic and images.

    The reference is the mean of the window's own cells, as in training.
    """
    rows, cols = window.pixels
    lr = ground.window_cells(window.row, window.col, window.size, halo_cells)
    own = lr[halo_cells : lr.shape[0] - halo_cells, halo_cells : lr.shape[1] - halo_cells]
    reference = float(own.mean())
    prior = (ground.prior[rows, cols] - reference).astype(np.float32)
    seen = images.read(rows.start, rows.stop, cols.start, cols.stop)
    return _Patch(window, (lr - reference).astype(np.float32), prior, reference, seen)


def collate(patches: Sequence[_Patch], pixel_m: float, device: torch.device | str = "cpu") -> Batch:
    """A batch without truth; smaller image sets are padded."""
    size = patches[0].window.size
    most = max(1, *(len(p.seen) for p in patches))
    images = torch.zeros(len(patches), most, size, size)
    valid = torch.zeros(len(patches), most, size, size, dtype=torch.bool)
    sun = torch.zeros(len(patches), most, 3)
    sun[..., 2] = 1.0
    present = torch.zeros(len(patches), most, dtype=torch.bool)
    for b, patch in enumerate(patches):
        n = len(patch.seen)
        images[b, :n], valid[b, :n], sun[b, :n] = patch.seen.images, patch.seen.valid, patch.seen.sun
        present[b, :n] = True

    def stack(arrays: list[Any]) -> Tensor:
        return torch.from_numpy(np.array(arrays, dtype=np.float32)).to(device)

    return Batch(
        dem=None,
        lr=stack([p.lr for p in patches]),
        prior=stack([p.prior for p in patches]),
        images=images.to(device),
        valid=valid.to(device),
        sun=sun.to(device),
        present=present.to(device),
        pixel_m=stack([pixel_m] * len(patches)),
        reference=stack([p.reference for p in patches]),
    )


@dataclass
class Coverage:
    """How many images the windows and pixels saw.

    Attributes
    ----------
    per_window : images used in each window, in order.
    per_pixel : (S, S) most images with data at a pixel, over the windows that hold it.
    """

    per_window: list[int]
    per_pixel: NDArray[np.int32]

    def add(self, patch: _Patch) -> None:
        """Count a window's images."""
        self.per_window.append(len(patch.seen))
        here = self.per_pixel[patch.window.pixels]
        np.maximum(here, patch.seen.valid.sum(dim=0).numpy(), out=here)


def reconstruct_windows(
    system: System,
    ground: Ground,
    images: RegionImages,
    section: RegionSection,
    sampler: SamplerSection,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
) -> tuple[Mosaic, Coverage]:
    """Sample every window and blend the clones; memory does not grow with the region but for the mosaic.

    Parameters
    ----------
    system : trained network and process, on `device`.
    ground : a priori DEM (its truth is not used here). images : what lights the region.
    section : stride, clones, blending, seed. sampler : how clones are drawn.
    batch : windows a forward pass, at most; fewer with many images.

    Raises
    ------
    ValueError
        If windows do not lie on the cells of the a priori DEM, or a clone is not finite.
    """
    size, factor = system.size_px, ground.factor
    if section.stride_px % factor:
        raise ValueError(
            f"region.stride_px: expected a multiple of patches.factor = {factor}, so that windows lie on "
            f"whole a priori pixels, found {section.stride_px}"
        )
    rows, cols = ground.grid.height, ground.grid.width
    windows = moving_windows(rows, cols, size, section.stride_px)
    mosaic = Mosaic(
        rows,
        cols,
        section.members,
        lambda w: blend_weights(w.size, section.blend_px, section.blend_sigma_px, w.border),
    )
    coverage = Coverage([], np.zeros((rows, cols), dtype=np.int32))
    step = max(1, min(batch, _BATCH_PX // (images.count * size**2)))
    with torch.inference_mode():
        for window, clones in _sample(
            system, ground, images, section, sampler, windows, step, device, coverage
        ):
            mosaic.add(window, clones)
    return mosaic, coverage


def _sample(
    system: System,
    ground: Ground,
    images: RegionImages,
    section: RegionSection,
    sampler: SamplerSection,
    windows: Sequence[Window],
    step: int,
    device: torch.device | str,
    coverage: Coverage,
) -> Iterator[tuple[Window, NDArray[np.float64]]]:
    """Clones (M, P, P) of each window, metres above the sphere, in the order of the windows."""
    parts = [windows[i : i + step] for i in range(0, len(windows), step)]
    label = f"region: batches of windows ({len(windows)} windows, {section.members} clones)"
    for part in track(parts, len(parts), label):
        patches = [prepare(ground, images, window, system.halo_cells) for window in part]
        generators = [seeded(section.seed, CLONES_PURPOSE, w.row, w.col) for w in part]
        batch = collate(patches, ground.grid.pixel_m, device)
        clones = system.sample(batch, section.members, generators, sampler).double().cpu().numpy()
        for patch, heights in zip(patches, clones, strict=True):
            coverage.add(patch)
            yield patch.window, heights + patch.reference


def reconstruct(
    section: str,
    inputs: Mapping[str, Any],
    runtime: RuntimeSection,
    outputs: Mapping[str, str],
    key: str = "",
) -> None:
    """Reconstruct a region and write its products.

    Parameters
    ----------
    section : the stage's JSON section: ``region``, ``photometry``, ``illumination``, ``tolerance``,
        ``factor``, ``size_px``, ``stride_px`` (of the patches) and ``sampler``.
    inputs : files ``terrain`` (index), ``split``, ``model``, and lists of at most one file: ``vae`` (none for
        pixel space), ``calibration`` (of the model's clones), ``track`` (the Sun's, where
        ``region.light.place`` is ``ephemeris``) and ``far`` (far terrain, where ``illumination.far_m`` > 0).
    runtime : device.
    outputs : files ``mean``, ``std``, ``prior``, ``truth``, ``images``, ``metrics``, ``quicklook``; with
        ``clones``, the blended clones too.
    key : the stage's key, for the tags of the products.

    Raises
    ------
    ValueError
        If the region has no place, or files do not fit each other; the message names the file or key.
    """
    content: dict[str, Any] = json.loads(section)
    region = RegionSection.model_validate(content["region"])
    photometry = PhotometrySection.model_validate(content["photometry"])
    light = IlluminationSection.model_validate(content["illumination"])
    sampler = SamplerSection.model_validate(content["sampler"])
    device = pick_device(runtime.device)
    model, vae = _one(inputs["model"]), _one(inputs.get("vae"))
    fingerprint = model_config(model, "bridge")["fingerprint"]
    system = load_calibrated(model, vae or None, device, _one(inputs.get("calibration")) or None)
    if (system.size_px, system.factor) != (content["size_px"], content["factor"]):
        raise ValueError(
            f"{model}: expected a model for patches of {content['size_px']} px and factor "
            f"{content['factor']}, found {system.size_px} px and factor {system.factor}"
        )
    terrain = load_terrain(_one(inputs["terrain"]))
    labels = read_json(_one(inputs["split"]), "split/1")["patches"]
    splits = split_map(terrain, labels, content["size_px"], content["stride_px"])
    place = find_place(terrain, region, splits)
    ground = read_ground(terrain, place, system.factor, system.halo_cells, light.halo_px)
    terrain.close()
    far = far_around(_one(inputs.get("far")), place, light) if light.far_m > 0 else None
    suns = read_track(path) if (path := _one(inputs.get("track"))) else None
    images = render(ground, region, light, content["tolerance"], photometry, suns, far)
    mosaic, coverage = reconstruct_windows(system, ground, images, region, sampler, device)
    write_outputs(
        outputs,
        Reconstruction(
            site=terrain.sites[place.site].name,
            place=place,
            ground=ground,
            images=images,
            mosaic=mosaic,
            section=region,
            sampler=sampler,
            size_px=system.size_px,
            fingerprint=fingerprint,
            key=key,
            images_per_window=coverage.per_window,
            images_per_pixel=coverage.per_pixel,
            test_patches=splits.inside(place, "test"),
            train_patches=splits.inside(place, "train"),
        ),
    )


def _one(files: Any) -> str:
    """A file given as a path or as a list of at most one; '' for none."""
    if isinstance(files, str):
        return files
    return str(files[0]) if files else ""
