"""A raster file read by GDAL: opened on first use; can be closed and pickled at any time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from pipeline.terrain.grid import RasterError


class GdalFile:
    """A raster file; an object must be used by only one thread at a time.

    Parameters
    ----------
    path : of the file. what : kind of file, for error messages.

    Attributes
    ----------
    name : the path as text.
    """

    def __init__(self, path: Path | str, what: str) -> None:
        self.name = str(path)
        self._path, self._what = Path(path), what
        self._dataset: Any = None

    def _open(self) -> Any:
        """The rasterio dataset.

        Raises
        ------
        RasterError
            If GDAL cannot open the file.
        """
        if self._dataset is None:
            import rasterio
            from rasterio.errors import NotGeoreferencedWarning, RasterioError

            try:
                with warnings.catch_warnings():
                    # Readers report files without georeference themselves.
                    warnings.simplefilter("ignore", NotGeoreferencedWarning)
                    self._dataset = rasterio.open(self._path)
            except RasterioError as error:
                raise RasterError(
                    f"{self.name}: expected a whole {self._what} file, found one that GDAL cannot open "
                    f"({error})"
                ) from None
        return self._dataset

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._dataset is not None:
            self._dataset.close()
            self._dataset = None

    def __getstate__(self) -> dict[str, Any]:
        # GDAL handles cannot cross processes.
        return {**self.__dict__, "_dataset": None}
