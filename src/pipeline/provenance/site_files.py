"""The files of a site of which a map is made: paths, identity, and the extent of the map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path
from typing import Any

from pipeline.config.root import Config, ConfigError
from pipeline.config.site import SITE_FILES, SiteSection
from pipeline.maps.beside import refuse_other_grids
from pipeline.maps.layout import Layout, lay_out
from pipeline.provenance.digest import DigestMemory
from pipeline.provenance.read_files import files_read


@dataclass(frozen=True)
class SiteFiles:
    """Files of a site.

    Attributes
    ----------
    paths : local paths by the keys of `site`, each as a list. identity : role, name and digest of each.
    layout : JSON of the map's `Layout`.
    """

    paths: dict[str, list[str]]
    identity: list[list[str]]
    layout: dict[str, Any]

    @property
    def place(self) -> Layout:
        """Extent and grid of the map."""
        return Layout.from_json(self.layout)

    def record(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    def named(self, site: SiteSection) -> SiteSection:
        """The section with file names instead of paths, which may differ between machines."""
        known = {key: Path(paths[0]).name for key, paths in self.paths.items() if key in SITE_FILES and paths}
        several = {key: [Path(p).name for p in self.paths[key]] for key in ("images", "kernels")}
        return site.model_copy(update={**known, **{k: v for k, v in several.items() if v}})


def resolve_site(config: Config, root: Path, memory: DigestMemory) -> SiteFiles | None:
    """Find a site's files, compute their digests and lay out its map; None for a run without a map.

    Raises
    ------
    ConfigError
        If a file is absent, no map can be made on the DEM, or a count or error map has another grid; the
        message names the key or the file.
    """
    site = config.site
    if site.dem is None:
        return None
    paths: dict[str, list[str]] = {}
    for key in SITE_FILES:
        given = getattr(site, key)
        if given is not None and not (root / given).is_file():
            raise ConfigError.unlike(f"site.{key}", "a file", f"no file {given!r}")
        paths[key] = [] if given is None else [given]
    for key, entries in (("images", site.image_entries), ("kernels", site.kernels)):
        found: list[str] = []
        for entry in entries:
            # Path.glob refuses absolute patterns, which users do give.
            local = sorted(glob(entry, root_dir=root))  # noqa: PTH207
            if folder := next((each for each in local if (root / each).is_dir()), None):
                raise ConfigError.unlike(f"site.{key}", "files", f"the folder {folder!r}")
            if not local:
                raise ConfigError.unlike(f"site.{key}", "files", f"no file {entry!r}")
            found += [each for each in local if each not in found]
        paths[key] = found
    identity = [
        [key, file.name, memory.sha256(root / file)]
        for key, local in paths.items()
        for path in local
        for file in files_read(Path(path), root, memory)
    ]
    rasters = {
        key: str(root / each[0]) for key in ("dem", "count", "error") for each in (paths[key],) if each
    }
    here = site.model_copy(update=rasters)
    try:
        layout = lay_out(here, config.patches.factor, config.patches.size_px)
        refuse_other_grids(here)
    except ValueError as error:
        raise ConfigError(f"config: {error}") from None
    return SiteFiles(paths, identity, layout.to_json())
