"""Reading visibility from a shard, compared with a raw memory-mapped read of equal size and with zarr."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from light_terrain import Floats
from light_tiles import write_patches
from pipeline.config.illumination import IlluminationSection
from pipeline.illumination.trace import trace_tile
from pipeline.shards.reader import Shard
from pipeline.shards.write import write_shard
from pipeline.storage.store import read_store

COUNT, SIZE, HALO, IMAGES = 80, 96, 32, 20


def make_shard(folder: Path, window: Floats) -> Path:
    """A training shard of `COUNT` patches of a window."""
    write_patches(folder, window, COUNT, SIZE, HALO)
    light = IlluminationSection(engine="horizon", halo_px=HALO)
    visibility, out = folder / "visibility.zarr.zip", folder / "train.zarr.zip"
    trace_tile(folder / "patches.zarr.zip", folder / "selected.json", SIZE, light, visibility)
    split = {"schema": "split/1", "patches": {str(k): "train" for k in range(COUNT)}}
    (folder / "split.json").write_text(json.dumps(split))
    write_shard("train", folder / "patches.zarr.zip", visibility, folder / "split.json", 16, out)
    return out


def storage(window: Floats, rounds: int) -> dict[str, float]:
    """Bytes per patch, and patches per second (CPU time of one core) in random order from the page cache."""
    rng = np.random.default_rng(0)
    order = rng.permutation(COUNT)
    images = rng.integers(0, 360, (COUNT, IMAGES))
    with tempfile.TemporaryDirectory() as name:
        path = make_shard(Path(name), window)
        shard, lit = Shard(path), read_store(path, "fixed")["lit"]
        raw = np.memmap(path, np.uint8, "r")
        size = shard.packed("fixed", 0).nbytes
        starts = np.linspace(0, len(raw) - size, COUNT).astype(int)
        ways: dict[str, Callable[[int], np.ndarray]] = {
            "raw": lambda k: np.array(raw[starts[k] : starts[k] + size]),
            "shard": lambda k: np.array(shard.packed("fixed", k)),
            "zarr": lambda k: np.array(lit[k]),
            "set": lambda k: shard.visible("fixed", k, images[k]),
        }
        best = dict.fromkeys(ways, np.inf)
        for _ in range(rounds + 1):  # the first round warms up
            for way, read in ways.items():
                began = time.process_time()
                for k in order:
                    read(int(k))
                best[way] = min(best[way], time.process_time() - began)
        stored = path.stat().st_size / COUNT
    rate = {way: COUNT / seconds for way, seconds in best.items()}
    print(f"\na shard of {COUNT} patches: {stored:,.0f} bytes per patch, {size:,} of them fixed visibility")
    for way, text in (
        ("raw", "raw memory-mapped copy of as many bytes"),
        ("shard", "Shard.packed, copied"),
        ("zarr", "the same through zarr"),
        ("set", f"Shard.visible, {IMAGES} images unpacked to bytes"),
    ):
        print(f"  {text:42s} {rate[way]:10,.0f} patches/s")
    return {
        "bytes_a_patch": round(stored),
        "read_vs_raw": round(rate["shard"] / rate["raw"], 2),
        "read_patches_s": round(rate["shard"]),
        "image_sets_s": round(rate["set"]),
    }
