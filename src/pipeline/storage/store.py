"""Zarr stores, each in one reproducible file.

A store is written as a temporary folder, then packed into an uncompressed zip whose entries are sorted
and dated 1980-01-01: equal content gives equal bytes, Snakemake tracks one file, and xarray opens it
through ``zarr.storage.ZipStore(path, mode="r")``. Zarr format 2 with consolidated metadata is used
because xarray opens it without a warning.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numcodecs import Zstd

from pipeline.storage.atomic import write_zip
from pipeline.storage.schema import SCHEMAS, check_written


class StoreError(ValueError):
    """A store that cannot be read, or that violates its schema."""


class _Archive(zarr.storage.ZipStore):
    """A zip that names damaged entries; zlib's own messages do not name the file."""

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().get(key, *args, **kwargs)
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise StoreError(
                f"{self.path}: expected the entry {key!r} as it was written, found damaged bytes ({error}); "
                f"delete the file and run the same command again"
            ) from None


class StoreWriter:
    """Context that writes one zarr store atomically: nothing appears at `path` unless it ends without error.

    Parameters
    ----------
    path : file to write (``*.zarr.zip``).
    schema : name in `pipeline.storage.schema.SCHEMAS`; its tag is recorded as ``attrs["schema"]``.
    attrs : JSON-able attributes of the root group.

    Raises
    ------
    KeyError
        If there is no such schema.
    ValueError
        At the end of the context, if arrays or attributes differ from the schema.
    """

    def __init__(self, path: Path | str, schema: str, attrs: Mapping[str, Any] | None = None) -> None:
        if schema not in SCHEMAS:
            raise KeyError(f"schema: expected one of {sorted(SCHEMAS)}, found {schema!r}")
        self.path = Path(path)
        self.schema = schema
        self.attrs = dict(attrs or {})

    def __enter__(self) -> StoreWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, which needs the same space anyway; /tmp may be in memory.
        self._folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        self._root = zarr.open_group(str(self._folder), mode="w", zarr_format=2)
        self._root.attrs.update(dict(sorted({"schema": SCHEMAS[self.schema].tag, **self.attrs}.items())))
        self._arrays: dict[str, tuple[str, ...]] = {}
        return self

    def describe(self, attrs: Mapping[str, Any]) -> None:
        """Add attributes to the root group that are only known after arrays are written."""
        self._root.attrs.update(attrs)

    def create(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        dims: Sequence[str],
        chunks: Sequence[int] | None = None,
        attrs: Mapping[str, Any] | None = None,
        compress: bool = False,
    ) -> zarr.Array:
        """Create an array to be filled by region.

        Parameters
        ----------
        name : of the array; may contain a group (``fixed/lit``).
        shape, dtype : of the array, as the schema demands. dims : one name per axis.
        chunks : shape of a chunk; None for the whole array. attrs : JSON-able attributes of the array.
        compress : with Zstandard; else readers can map a chunk to memory.

        Returns
        -------
        The array; floats that are not written are NaN.

        Raises
        ------
        ValueError
            If the number of dimension names is not that of the axes.
        """
        if len(shape) != len(dims):
            raise ValueError(f"{self.path}: {name}: expected one dimension name per axis, found {dims}")
        dtype = np.dtype(dtype)
        # xarray interprets an integer fill value as missing data and would convert the array to floats.
        fill: Any = np.nan if dtype.kind == "f" else None
        array = self._root.create_array(
            name,
            shape=tuple(shape),
            dtype=dtype,
            chunks=tuple(max(1, int(c)) for c in (chunks or shape)),
            compressors=Zstd(level=3) if compress else None,
            fill_value=fill,
            # A lost chunk would be read as the fill value, so all chunks must exist.
            config={"write_empty_chunks": True},
            attributes={"_ARRAY_DIMENSIONS": list(dims), **dict(sorted((attrs or {}).items()))},
        )
        self._arrays[name] = tuple(dims)
        return array

    def write(
        self, name: str, data: Any, dims: Sequence[str], chunks: Sequence[int] | None = None, **options: Any
    ) -> None:
        """Write a whole array; `options` are further arguments of `create`."""
        data = np.asarray(data)
        array = self.create(name, data.shape, data.dtype, dims, chunks, **options)
        if data.size:
            array[...] = data

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(self.path)  # the system reports a full disk without a file name
            if kind is None:
                check_written(self.schema, self._arrays, self._root, self.path)
                for group in sorted({name.rpartition("/")[0] for name in self._arrays} | {""}):
                    zarr.consolidate_metadata(self._root.store, path=group, zarr_format=2)
                files = [p for p in self._folder.rglob("*") if p.is_file()]
                write_zip(self.path, {p.relative_to(self._folder).as_posix(): p for p in files})
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


class StoredArray:
    """One array of a store, read on access; the part of `xarray.DataArray` that stages need."""

    def __init__(self, array: zarr.Array) -> None:
        self._array = array
        self.dims: tuple[str, ...] = tuple(array.attrs["_ARRAY_DIMENSIONS"])  # type: ignore[arg-type]
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._array[index])

    @property
    def values(self) -> np.ndarray:
        """The whole array."""
        return self[...]


class Stored(dict[str, StoredArray]):
    """The arrays of one group of a store by name, and its attributes.

    Stages use this class instead of xarray, which imports pandas and so takes longer than most stages.
    """

    def __init__(self, group: zarr.Group) -> None:
        super().__init__((name, StoredArray(array)) for name, array in sorted(group.arrays()))
        self.attrs: dict[str, Any] = dict(group.attrs)


@contextmanager
def _opened(path: Path | str, group: str, schema: str | None) -> Iterator[_Archive]:
    """Context with the archive of a store of the given schema; a missing group is named in the error."""
    path = Path(path)
    found = store_attrs(path).get("schema")
    if schema is not None and found != SCHEMAS[schema].tag:
        raise StoreError(f"{path}: expected schema {SCHEMAS[schema].tag!r}, found {found!r}")
    try:
        yield _Archive(path, mode="r")
    except (KeyError, FileNotFoundError):
        raise StoreError(f"{path}: expected a group {group!r}, found none") from None


def read_store(path: Path | str, group: str = "", schema: str | None = None) -> Stored:
    """Open a store without xarray; parameters and errors as `open_store`."""
    with _opened(path, group, schema) as archive:
        return Stored(zarr.open_group(archive, path=group, mode="r", zarr_format=2, use_consolidated=True))


def open_store(path: Path | str, group: str = "", schema: str | None = None) -> Any:
    """Open a store as a lazy `xarray.Dataset`.

    Parameters
    ----------
    path : a ``*.zarr.zip`` written by `StoreWriter`.
    group : group inside the store; the root by default.
    schema : schema that the store must have; any by default.

    Raises
    ------
    StoreError
        If the file is absent, is not a complete zip, has another schema, or lacks the group; also when an
        array with damaged bytes is read.
    """
    import xarray as xr

    with _opened(path, group, schema) as archive:
        return xr.open_zarr(archive, group=group or None, consolidated=True, zarr_format=2)


def store_attrs(path: Path | str) -> dict[str, Any]:
    """Attributes of a store's root, read without zarr: a fast check that the file is a store.

    Raises
    ------
    StoreError
        If the file is absent or is no zarr store.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: expected a zarr store, found no file")
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(".zattrs"))
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, OSError) as error:
        raise StoreError(
            f"{path}: expected a whole zarr store, found {path.stat().st_size} bytes that are not one "
            f"({type(error).__name__})"
        ) from None
