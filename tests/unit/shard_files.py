"""Small shards made the way the pipeline makes them: patches, visibility, split, draws, shards, manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.stages.shards import ManifestStage
from pipeline.illumination.directions import fibonacci_directions, fixed_directions
from pipeline.shards.manifest import write_manifest
from pipeline.shards.write import write_shard
from pipeline.storage.store import StoreWriter

SIZE, FACTOR, HALO, PIXEL_M = 16, 4, 8, 20.0
SIDE = SIZE + 2 * HALO
# Factor on the heights of image sets but the first; share of the mean above which pixels are expected lit.
RELIEF, EXPECTED = 0.5, 0.8


def terrain(side: int, seed: int = 0) -> np.ndarray:
    """Smooth random heights (side, side), metres."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.fftfreq(side)[None] ** 2
    spectrum = np.fft.fft2(rng.standard_normal((side, side))) / (frequency + 1e-3)
    heights = np.fft.ifft2(spectrum * np.exp(-60 * frequency)).real
    return (100 * heights / heights.std() - 1500).astype("f4")


@dataclass(frozen=True)
class Tile:
    """One tile's inputs to `write_shard`."""

    patches: Path
    visibility: Path
    ids: np.ndarray
    dem: np.ndarray
    lit: np.ndarray


def write_tile(
    folder: Path,
    tile: int = 0,
    count: int = 6,
    light_halo_px: int = 0,
    sun: str = "point",
    dark: int = 0,
    places: Mapping[str, np.ndarray] | None = None,
    counts: bool = False,
) -> Tile:
    """Write a tile's patches and visibility; the first `dark` directions light no pixel of any patch.

    `places` replaces the meaningless ``x0``, ``y0``, ``lon``, ``lat`` and ``pole``. With `counts`, patch k
    has 1 + k altimeter spots in every third pixel.
    """
    places = places or {}
    rng = np.random.default_rng([17, tile])
    ids = np.arange(count, dtype=np.int64) + 100 * tile
    land = terrain(SIDE + SIZE * max(count - 1, 0), seed=tile)
    dem = np.stack(
        [land[:SIDE, SIZE * i : SIZE * i + SIDE] for i in range(count)] or [np.zeros((SIDE, SIDE))]
    )
    dem = dem[:count].astype("f4")
    attrs = {"pixel_m": PIXEL_M, "size_px": SIZE, "halo_px": HALO, "crs_wkt": "", "stride_px": SIZE}
    patches = folder / f"patches_{tile}.zarr.zip"
    with StoreWriter(patches, "patches", attrs) as writer:
        writer.write("dem", dem, ("patch", "y", "x"), chunks=(1, SIDE, SIDE), compress=True)
        if counts:
            spots = np.zeros((count, SIZE, SIZE), "f4")
            spots[:, :, ::3] = 1 + np.arange(count)[:, None, None]
            writer.write("count", spots, ("patch", "py", "px"), chunks=(1, SIZE, SIZE), compress=True)
        writer.write("id", ids, ("patch",))
        for name, kind in {"row": "i4", "col": "i4", "site": "i4", "pole": "i1", "on_grid": "?"}.items():
            writer.write(name, np.asarray(places.get(name, np.ones(count)), kind), ("patch",))
        for name in ("x0", "y0", "lon", "lat"):
            meaningless = rng.random(count)
            writer.write(name, np.asarray(places.get(name, meaningless), float), ("patch",))
        writer.write("halo", np.full((count, 4), HALO, "i4"), ("patch", "side"))
    visibility = folder / f"visibility_{tile}.zarr.zip"
    fixed = fixed_directions().astype("f4")
    lit = rng.random((count, len(fixed), SIZE, SIZE)) < 0.8
    lit[:, :dark] = False
    jittered = [fibonacci_directions(30, 3.0, np.random.default_rng([tile, i])) for i in range(count)]
    light = {"size_px": SIZE, "halo_px": light_halo_px, "sun": sun, "engine": "embree"}
    with StoreWriter(visibility, "visibility", light) as writer:
        writer.write("id", ids, ("patch",))
        writer.write("fixed/sun", fixed, ("direction", "vector"))
        suns = np.array([s for s, _ in jittered], "f4").reshape(count, 30, 3)
        writer.write("fibonacci/sun", suns, ("patch", "direction", "vector"))
        there = np.array([p for _, p in jittered], bool).reshape(count, 30)
        writer.write("fibonacci/present", there, ("patch", "direction"))
        for group, seen in (("fixed", lit), ("fibonacci", lit[:, 100:130])):
            if sun == "point":
                packed = np.packbits(seen, axis=-1)
                writer.write(f"{group}/lit", packed, ("patch", "direction", "y", "xbyte"))
            else:
                share = (seen * np.uint8(200)).astype("u1")
                writer.write(f"{group}/share", share, ("patch", "direction", "y", "x"))
    return Tile(patches, visibility, ids, dem, lit)


def write_split(folder: Path, labels: dict[int, str]) -> Path:
    """Write ``split.json`` with the given label of each id."""
    path = folder / "split.json"
    path.write_text(json.dumps({"schema": "split/1", "patches": {str(i): s for i, s in labels.items()}}))
    return path


def write_draws(folder: Path, ids: list[int], images: int = 5) -> tuple[Path, Path]:
    """Write fixed draws ``main`` for the given patches; patch k has `images` - k % 2 images."""
    rng = np.random.default_rng(5)
    arcs, masks = {}, {}
    for k, i in enumerate(ids):
        n = images - k % 2
        arcs[str(i)] = {"lon": 10.0 + k, "lat": 80.0, "images": rng.integers(0, 360, n).tolist()}
        masks[str(i)] = {"strips": [[8.0, 8.0, 30.0 * j, 4.0] for j in range(n)]}
    paths = folder / "arcs.json", folder / "masks.json"
    paths[0].write_text(json.dumps({"schema": "arcs/1", "draws": {"main": arcs}}))
    paths[1].write_text(json.dumps({"schema": "masks/1", "draws": {"main": masks}}))
    return paths


def write_scenes(folder: Path, number: int, tile: Tile, sets: int = 2, images: int = 6) -> Path:
    """Write image sets of a tile's patches: Lambert's law, no shadows; a set is as bright as its number."""
    rng = np.random.default_rng([23, number])
    count = len(tile.ids)
    azimuth = rng.uniform(0, 2 * np.pi, (count, sets * images))
    height = rng.uniform(0.2, 0.8, azimuth.shape)
    flat = np.sqrt(1 - height**2)
    sun = np.stack([flat * np.sin(azimuth), flat * np.cos(azimuth), height], axis=-1).astype("f4")
    down, right = np.gradient(tile.dem, PIXEL_M, axis=(1, 2))
    normal = np.stack([-right, down, np.ones_like(down)], axis=1)
    normal = (normal / np.linalg.norm(normal, axis=1, keepdims=True))[..., HALO:-HALO, HALO:-HALO]
    number_of_set = np.arange(sets * images) // images
    light = np.einsum("bnc,bcyx->bnyx", sun, normal).clip(0) * (1 + number_of_set)[:, None, None]
    path = folder / f"scenes_{number}.zarr.zip"
    attrs = {"pixel_m": PIXEL_M, "size_px": SIZE, "sets": sets, "mesh": 1, "disc_deg": 0.5}
    with StoreWriter(path, "scenes", attrs) as writer:
        writer.write("id", tile.ids, ("patch",))
        writer.write("sun", sun, ("patch", "image", "vector"))
        writer.write("set", np.tile(number_of_set.astype("u1"), (count, 1)), ("patch", "image"))
        writer.write("shift", np.zeros((count, sets * images, 2), "f4"), ("patch", "image", "axis"))
        writer.write(
            "relief",
            np.where(number_of_set, RELIEF, 1).astype("f4") * np.ones((count, 1), "f4"),
            ("patch", "image"),
        )
        dims = ("patch", "image", "y", "x")
        expected = np.packbits(light > EXPECTED * light.mean(), axis=-1)
        writer.write("expected", expected, (*dims[:3], "xbyte"), chunks=(1, *expected.shape[1:]))
        writer.write("radiance", light.astype("f2"), dims, chunks=(1, *light.shape[1:]))
    return path


def make_manifest(
    folder: Path,
    tiles: int = 2,
    count: int = 6,
    light_halo_px: int = 0,
    scenes: bool = False,
    counts: bool = False,
) -> Path:
    """Training and validation shards of a few tiles (one patch in six validates), and their manifest."""
    made = [write_tile(folder, tile, count, light_halo_px, counts=counts) for tile in range(tiles)]
    labels = {int(i): "validation" if n == 0 else "train" for tile in made for n, i in enumerate(tile.ids)}
    split = write_split(folder, labels)
    shards: dict[str, list[str]] = {"train": [], "validation": []}
    for number, tile in enumerate(made):
        for name, paths in shards.items():
            paths.append(str(folder / "shards" / f"{name}_{number:03d}.zarr.zip"))
            rendered = write_scenes(folder, number, tile) if scenes else None
            write_shard(name, tile.patches, tile.visibility, split, FACTOR, paths[-1], scenes_store=rendered)
    manifest = folder / "manifest.json"
    write_manifest(shards, ManifestStage(statistics_patches=2000), manifest)
    return manifest


def make_selected(path: Path, kept: dict[int, bool]) -> Path:
    """Write ``selected/1``: patch id -> whether it is kept."""
    entries = [{"id": i, "kept": k, "reason": None if k else "coverage"} for i, k in kept.items()]
    path.write_text(json.dumps({"schema": "selected/1", "tile": 0, "patches": entries}))
    return path


def make_test_manifest(folder: Path, tiles: int = 1, count: int = 6, scenes: bool = False) -> Path:
    """Test shards of a few tiles with draws ``main`` of different numbers of images, and their manifest."""
    paths = []
    for tile in range(tiles):
        place = folder / f"tile_{tile}"
        place.mkdir(parents=True)
        made = write_tile(place, tile, count)
        ids = [int(i) for i in made.ids]
        split, draws = write_split(place, dict.fromkeys(ids, "test")), write_draws(place, ids, 5 + 4 * tile)
        paths.append(str(place / "test.zarr.zip"))
        rendered = write_scenes(place, tile, made) if scenes else None
        write_shard(
            "test", made.patches, made.visibility, split, FACTOR, paths[-1], *draws, scenes_store=rendered
        )
    write_manifest({"test": paths}, ManifestStage(), folder / "manifest.json")
    return folder / "manifest.json"
