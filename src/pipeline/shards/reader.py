"""Random access to shards: patches and single images are memory-mapped from the file."""

from __future__ import annotations

import struct
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.illumination.place import Place, patch_places
from pipeline.storage.store import Stored, StoreError, read_store


class Shard:
    """One shard, read patch by patch.

    The large arrays (``dem``, ``spots``, ``*/lit``, ``*/share``, ``scenes/radiance``, ``scenes/expected``)
    are uncompressed with one patch per chunk. A chunk is thus a contiguous range of bytes in the file, which
    is memory-mapped instead of read through zarr.

    Attributes
    ----------
    path : the file. ids : (patch,) int64 ids of the patches.
    root, attrs : the small arrays and the attributes of the root group, see `pipeline.storage.schema`.

    Raises
    ------
    StoreError
        If the file is no shard; methods also raise it if an array or chunk is absent or has the wrong size.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.root = read_store(self.path, schema="shard")
        self.attrs: dict[str, Any] = dict(self.root.attrs)
        self.ids = self.root["id"].values
        self._groups = {group: read_store(self.path, group) for group in ("fixed", "fibonacci")}
        self._draws: dict[str, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    @cached_property
    def _bytes(self) -> np.ndarray:
        return np.asarray(np.memmap(self.path, np.uint8, "r"))  # slicing a plain array is faster

    @cached_property
    def _offsets(self) -> dict[str, tuple[int, int]]:
        """Position of each entry's bytes in the file: name -> (offset, size)."""
        out: dict[str, tuple[int, int]] = {}
        with zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED:
                    raise StoreError(
                        f"{self.path}: expected stored entries, found compressed {info.filename}"
                    )
                head = self._bytes[info.header_offset : info.header_offset + 30].tobytes()
                name, extra = struct.unpack("<HH", head[26:30])
                out[info.filename] = (info.header_offset + 30 + name + extra, info.file_size)
        return out

    def _chunk(self, array: str, patch: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        name = array + "/" + ".".join([str(patch), *["0"] * len(shape)])
        if name not in self._offsets:
            raise StoreError(f"{self.path}: expected a chunk {name}, found none")
        offset, size = self._offsets[name]
        expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size != expected:
            raise StoreError(f"{self.path}: {name}: expected {expected} bytes, found {size}")
        return self._bytes[offset : offset + size].view(dtype).reshape(shape)

    def dem(self, patch: int) -> np.ndarray:
        """Terrain of one patch with its halo, metres, (P+2h, P+2h); NaN where there are no data."""
        return self._chunk("dem", patch, self.root["dem"].shape[1:], "<f4")

    def spots(self, patch: int) -> np.ndarray | None:
        """Altimeter spots per pixel of one patch, (P, P), from the DEM's count map; None without one.

        Shards hold them beside rendered scenes.
        """
        if "spots" not in self.root:
            return None
        return self._chunk("spots", patch, self.root["spots"].shape[1:], "<f4")

    def packed(self, group: str, patch: int) -> np.ndarray:
        """Bit-packed point-Sun visibility of one patch, (direction, P, ceil(P/8)) u1; a view of the file."""
        return self._chunk(f"{group}/lit", patch, self._groups[group]["lit"].shape[1:], "u1")

    def visible(self, group: str, patch: int, images: np.ndarray) -> np.ndarray:
        """Visible share of the Sun for the given images: (n, P, P) u1, 0..255."""
        if "share" in self._groups[group]:
            return self._shares(group, patch)[images]
        bits = self.packed(group, patch)[images]
        return np.unpackbits(bits, axis=-1, count=int(self.attrs["size_px"])) * np.uint8(255)

    def _shares(self, group: str, patch: int) -> np.ndarray:
        return self._chunk(f"{group}/share", patch, self._groups[group]["share"].shape[1:], "u1")

    def lit_any(self, group: str, patch: int) -> np.ndarray:
        """Which directions light at least one pixel of the patch: (direction,) bool."""
        stored = self._shares if "share" in self._groups[group] else self.packed
        return np.asarray(stored(group, patch).any(axis=(1, 2)))

    @cached_property
    def fixed_suns(self) -> np.ndarray:
        """Sun vectors of the fixed directions, (direction, 3), map frame."""
        return self._groups["fixed"]["sun"].values

    @cached_property
    def places(self) -> list[Place]:
        """Coordinates of the patches."""
        return patch_places(self.root)

    @cached_property
    def _fibonacci(self) -> tuple[np.ndarray, np.ndarray]:
        group = self._groups["fibonacci"]
        return group["sun"].values, group["present"].values

    def fibonacci_suns(self, patch: int) -> tuple[np.ndarray, np.ndarray]:
        """Sun vectors (direction, 3) and which of them are above the horizon (direction,) bool."""
        suns, present = self._fibonacci
        return suns[patch], present[patch]

    @cached_property
    def _scenes(self) -> Stored:
        return read_store(self.path, "scenes")

    @cached_property
    def scene_suns(self) -> np.ndarray:
        """Sun vectors of the rendered image sets, (patch, image, 3), map frame."""
        return self._scenes["sun"].values

    @cached_property
    def scene_shifts(self) -> np.ndarray:
        """Displacement of each image down and to the right, pixels, (patch, image, 2)."""
        return self._scenes["shift"].values

    @cached_property
    def scene_sets(self) -> np.ndarray:
        """Number of the set that each image belongs to, (patch, image) u1."""
        return self._scenes["set"].values

    @cached_property
    def scene_reliefs(self) -> np.ndarray:
        """Factor on the patch's heights under which each image was rendered, (patch, image)."""
        return self._scenes["relief"].values

    def scene_expected(self, patch: int, images: Any = slice(None)) -> np.ndarray:
        """Whether the whole solar disc is visible above the terrain of block means: (n, P, P) bool."""
        bits = self._chunk("scenes/expected", patch, self._scenes["expected"].shape[1:], "u1")[images]
        return np.unpackbits(bits, axis=-1, count=int(self.attrs["size_px"])).view(np.bool_)

    def scene_images(self, patch: int, images: Any = slice(None)) -> np.ndarray:
        """Radiance factors of the given images of the rendered sets: (n, P, P) float16.

        Raises
        ------
        StoreError
            If the shard has no rendered sets, because the run's config has no section ``scenes``.
        """
        return self._chunk("scenes/radiance", patch, self._scenes["radiance"].shape[1:], "<f2")[images]

    def draws(self, name: str) -> dict[str, np.ndarray]:
        """A named draw of a test shard.

        Returns
        -------
        ``lon`` and ``lat`` (patch,), degrees; ``images`` (patch, image), indices of fixed directions, -1
        beyond the end of a set; ``strips`` (patch, image, 4 or 14), see `pipeline.illumination.missing`.

        Raises
        ------
        StoreError
            If the shard has no draw of that name.
        """
        if name not in self._draws:
            group = read_store(self.path, f"draws_{name}")
            self._draws[name] = {key: group[key].values for key in ("lon", "lat", "images", "strips")}
        return self._draws[name]
