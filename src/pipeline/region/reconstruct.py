"""Stage ``region``: clones of a moving window over a region, blended into GeoTIFFs.

The stage's a priori DEM is the block mean of the true DEM, and its images are rendered for the whole region,
with the shadows of the region and of the terrain around it; `reconstruct_region` takes any a priori DEM and
images. Windows are sampled independently, with random numbers that depend only on the seed and the window's
position, and blended by `pipeline.region.blend`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.bridge import SamplerSection
from pipeline.config.region import RegionSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.region import RegionStage
from pipeline.jobs.device import pick_device
from pipeline.jobs.progress import progress
from pipeline.jobs.seeds import seeded
from pipeline.models.batch import Batch, pad_sets
from pipeline.models.calibration import load_calibrated
from pipeline.models.files import model_config
from pipeline.models.system import System
from pipeline.region.blend import Mosaic, blend_weights
from pipeline.region.ground import AprioriDem, read_ground
from pipeline.region.outputs import write_outputs
from pipeline.region.place import find_place, split_map
from pipeline.region.reconstruction import Origin, Reconstruction
from pipeline.region.source import RegionImages, WindowImages, one_file, open_images
from pipeline.region.windows import Window, moving_windows
from pipeline.storage.atomic import read_json
from pipeline.terrain.index import load_terrain

CLONES_PURPOSE = 0x52530
# Windows per forward pass: fixed, because the last bits of some kernels' sums depend on it.
BATCH = 16
# Largest number of image pixels per batch.
_BATCH_PX = 2**26


@dataclass(frozen=True)
class _Patch:
    """One window on the host, heights above `reference`, metres; `spots` and `cell_error` as in `Batch`."""

    window: Window
    lr: NDArray[np.float32]
    prior: NDArray[np.float32]
    reference: float
    seen: WindowImages
    spots: NDArray[np.float32] | None = None
    cell_error: float = 0.0


def prepare(apriori: AprioriDem, images: RegionImages, window: Window, halo_cells: int) -> _Patch:
    """Cut a window out of the region: its a priori heights and images, on the host.

    Heights are relative to the mean of the window's own cells, as in training.

    Parameters
    ----------
    apriori, images : of the region. window : begins on whole a priori cells.
    halo_cells : a priori cells around the window, at most those around the region.
    """
    rows, cols = window.pixels
    lr = apriori.window_cells(window.row, window.col, window.size, halo_cells)
    own = lr[halo_cells : lr.shape[0] - halo_cells, halo_cells : lr.shape[1] - halo_cells]
    reference = float(own.mean())
    prior = (apriori.prior[rows, cols] - reference).astype(np.float32)
    seen = images.read(rows.start, rows.stop, cols.start, cols.stop)
    spots, off = None, 0.0
    if apriori.spots is not None:
        spots, off = apriori.spots[rows, cols], np.inf
    elif apriori.cell_error is not None:
        off = float(np.sqrt(np.mean(np.square(apriori.cell_error[rows, cols]))))
    return _Patch(window, (lr - reference).astype(np.float32), prior, reference, seen, spots, off)


def collate(patches: Sequence[_Patch], pixel_m: float, device: torch.device | str = "cpu") -> Batch:
    """A batch of windows, without truth.

    Parameters
    ----------
    patches : B windows of one size from `prepare`. pixel_m : pixel size, metres. device : of the batch.

    Returns
    -------
    Batch whose image sets are padded to the size of the largest, at least 1.
    """
    seen = [patch.seen for patch in patches]

    def stack(arrays: list[Any]) -> Tensor:
        return torch.from_numpy(np.array(arrays, dtype=np.float32)).to(device)

    def pad(sets: list[Any], kind: Any = np.float32, fill: Any = 0) -> Tensor:
        return torch.from_numpy(pad_sets([np.asarray(x, kind) for x in sets], fill, least=1)).to(device)

    return Batch(
        dem=None,
        lr=stack([p.lr for p in patches]),
        prior=stack([p.prior for p in patches]),
        images=pad([s.images for s in seen]),
        valid=pad([s.valid for s in seen], bool),
        sun=pad([s.sun for s in seen], fill=(0, 0, 1)),
        present=pad([np.ones(len(s)) for s in seen], bool),
        pixel_m=stack([pixel_m] * len(patches)),
        reference=stack([p.reference for p in patches]),
        spots=stack([p.spots for p in patches]) if patches[0].spots is not None else None,
        cell_error=stack([p.cell_error for p in patches]) if any(p.cell_error for p in patches) else None,
    )


@dataclass
class Coverage:
    """Number of images of windows and pixels.

    Attributes
    ----------
    per_window : images used in each window, in order.
    per_pixel : (S, S) images with data at a pixel, the largest number over the windows that contain it.
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
    apriori: AprioriDem,
    images: RegionImages,
    section: RegionSection,
    sampler: SamplerSection,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
) -> tuple[Mosaic, Coverage]:
    """Sample every window and blend the clones; only the mosaic's memory grows with the region.

    Parameters
    ----------
    system : trained network and process, on `device`.
    apriori : a priori DEM. images : of the region.
    section : stride, clones, blending, seed. sampler : settings of the sampler.
    batch : windows per forward pass, at most; fewer with many images.

    Returns
    -------
    The blended clones, metres above the zero of `apriori`, and the numbers of images.

    Raises
    ------
    ValueError
        If windows do not align with the cells of the a priori DEM, or a clone is not finite.
    """
    size, factor = system.size_px, apriori.factor
    if section.stride_px % factor:
        raise ValueError(
            f"region.stride_px: expected a multiple of patches.factor = {factor}, so that windows lie on "
            f"whole a priori pixels, found {section.stride_px}"
        )
    rows, cols = apriori.grid.height, apriori.grid.width
    windows = moving_windows(rows, cols, size, section.stride_px)

    def weigh(window: Window) -> NDArray[np.float64]:
        return blend_weights(size, section.blend_px, section.blend_sigma_px, window.border)

    mosaic = Mosaic(rows, cols, section.members, weigh)
    coverage = Coverage([], np.zeros((rows, cols), dtype=np.int32))
    step = max(1, min(batch, _BATCH_PX // (images.count * size**2)))
    parts = [windows[i : i + step] for i in range(0, len(windows), step)]
    label = f"region: batches of windows ({len(windows)} windows, {section.members} clones)"
    with torch.inference_mode():
        for part in progress(parts, len(parts), label):
            patches = [prepare(apriori, images, window, system.halo_cells) for window in part]
            generators = [seeded(section.seed, CLONES_PURPOSE, w.row, w.col) for w in part]
            inputs = collate(patches, apriori.grid.pixel_m, device)
            clones = system.sample(inputs, section.members, generators, sampler).double().cpu().numpy()
            for patch, heights in zip(patches, clones, strict=True):
                coverage.add(patch)
                mosaic.add(patch.window, heights + patch.reference)
    return mosaic, coverage


def reconstruct_region(
    system: System,
    apriori: AprioriDem,
    images: RegionImages,
    section: RegionSection,
    sampler: SamplerSection,
    truth: NDArray[np.floating[Any]] | None = None,
    origin: Origin | None = None,
    device: torch.device | str = "cpu",
) -> Reconstruction:
    """Reconstruct a region from an a priori DEM and images; `pipeline.region.outputs` writes its products.

    Parameters
    ----------
    system : trained network and process, on `device`.
    apriori : a priori DEM, with the region's map grid. images : of the region, on its pixels.
    section : stride, clones, blending, seed; its place, light and masks are not used.
    sampler : settings of the sampler.
    truth : (S, S) true heights, metres, for scores only; None if unknown.
    origin : provenance, for tags of the products.

    Raises
    ------
    ValueError
        If the a priori DEM does not fit the system, or as `reconstruct_windows`.
    """
    if apriori.factor != system.factor or apriori.halo_cells < system.halo_cells:
        raise ValueError(
            f"a priori DEM: expected cells of {system.factor} px and {system.halo_cells} of them around the "
            f"region, found {apriori.factor} px and {apriori.halo_cells}"
        )
    mosaic, coverage = reconstruct_windows(system, apriori, images, section, sampler, device)
    return Reconstruction(
        apriori, truth, images, mosaic, section, sampler, system.size_px, coverage.per_window,
        coverage.per_pixel, origin or Origin(),
    )  # fmt: skip


def reconstruct(
    section: RegionStage,
    inputs: Mapping[str, Any],
    runtime: RuntimeSection,
    outputs: Mapping[str, str],
    key: str = "",
) -> None:
    """Reconstruct a region of known terrain from rendered images, and write its products.

    Parameters
    ----------
    section : of the stage; `size_px` and `stride_px` are those of the patches.
    inputs : files ``terrain`` (index), ``split``, ``model``, and lists of at most one file: ``vae`` (none for
        pixel space), ``calibration`` (of the model's clones), and those of `pipeline.region.render`.
    runtime : device.
    outputs : files ``mean``, ``std``, ``prior``, ``truth``, ``images``, ``metrics``, ``quicklook``; with
        ``clones``, the blended clones too.
    key : the stage's key, for the tags of the products.

    Raises
    ------
    ValueError
        If the terrain has no square for the region, or files do not fit each other; the message names the
        file or key.
    """
    device = pick_device(runtime.device)
    model, vae = one_file(inputs["model"]), one_file(inputs.get("vae"))
    fingerprint = model_config(model, "bridge")["fingerprint"]
    system = load_calibrated(model, vae or None, device, one_file(inputs.get("calibration")) or None)
    if (system.size_px, system.factor) != (section.size_px, section.factor):
        raise ValueError(
            f"{model}: expected a model for patches of {section.size_px} px and factor {section.factor}, "
            f"found {system.size_px} px and factor {system.factor}"
        )
    terrain = load_terrain(one_file(inputs["terrain"]))
    labels = read_json(one_file(inputs["split"]), "split/1")["patches"]
    splits = split_map(terrain, labels, section.size_px, section.stride_px, section.origin)
    place = find_place(terrain, section.region, splits)
    apriori, ground = read_ground(
        terrain, place, system.factor, system.halo_cells, section.illumination.halo_px
    )
    terrain.close()
    images = open_images("rendered", section, inputs, apriori, ground)
    patches = {split: splits.inside(place, split) for split in ("test", "train")}
    origin = Origin(terrain.sites[place.site].name, place, fingerprint, key, patches)
    done = reconstruct_region(
        system, apriori, images, section.region, section.sampler, ground.truth, origin, device
    )
    write_outputs(outputs, done)
