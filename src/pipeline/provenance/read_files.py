"""The files that are read when a raster file is opened: itself, labels, images, masks, sources of mosaics."""

from __future__ import annotations

import warnings
from pathlib import Path

from pipeline.provenance.digest import DigestMemory


def files_read(path: Path, root: Path, memory: DigestMemory) -> list[Path]:
    """A file and all others that are read with it.

    A PDS3 image has its label beside it, and a label points to its image. GDAL reads files beside a raster
    that share its stem (``.aux.xml``, ``.msk``, ``.tfw``) and, through a ``.vrt``, any others. What cannot be
    opened is taken alone: the stage that reads it reports why.

    Parameters
    ----------
    path : the file, from `root`. memory : remembers the names in each folder.

    Returns
    -------
    The file itself first, then existing others by name, from `root` where they are below it.
    """
    suffix = path.suffix.lower()
    if suffix == ".img":
        labels = (path.with_suffix(suffix) for suffix in (".lbl", ".LBL"))
        return [path, *(label for label in labels if (root / label).is_file())]
    others = _image(root / path) if suffix == ".lbl" else []
    if not others and (suffix in (".lbl", ".vrt") or memory.beside(root / path)):
        others = _with_gdal(root / path)
    known = [
        Path(each.relative_to(root) if each.is_relative_to(root) else each.absolute()) for each in others
    ]
    return [path, *sorted(known, key=lambda each: (each.name, each.as_posix()))]


def _image(label: Path) -> list[Path]:
    """The image that a PDS3 label points to; empty where the label is of another kind."""
    from pipeline.terrain.grid import GridError, RasterError
    from pipeline.terrain.pds3 import PdsRaster

    try:
        return [PdsRaster(label).image]
    except (RasterError, GridError, OSError):
        return []


def _with_gdal(path: Path) -> list[Path]:
    """The other existing files that GDAL reads for a raster, those of a ``.vrt`` with theirs."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    found: set[Path] = set()
    waiting = [path]
    while waiting:
        each = waiting.pop()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with rasterio.open(each) as dataset:
                    names = dataset.files
        except RasterioError:
            continue
        new = {Path(name) for name in names if Path(name).is_file()} - found - {path}
        found |= new
        waiting += [name for name in new if name.suffix.lower() == ".vrt" or each.suffix.lower() == ".vrt"]
    return list(found)
