"""What a plan depends on besides config and code: digests of files, given weights, package versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config.root import Config, ConfigError
from pipeline.provenance.digest import DigestMemory
from pipeline.provenance.given import (
    GivenWeights,
    InitWeights,
    resolve_given,
    resolve_init,
    resolve_rivals,
)
from pipeline.provenance.inputs import InputFiles, resolve_inputs
from pipeline.provenance.read_files import files_read
from pipeline.provenance.site_files import SiteFiles, resolve_site

DIGESTS = Path("results/.digests.json")

# Packages whose version can change the bytes of a result.
_NUMERIC = ("torch", "numpy", "scipy", "numba", "embreex", "rasterio", "zarr")


@dataclass(frozen=True)
class Found:
    """What enters the keys besides config and code.

    Attributes
    ----------
    files : raster files. lpips : digest of the perceptual loss's weights, or None.
    kernels : digests of the SPICE kernels, in the order of the config; empty if none are used.
    spiceypy : version of the package that reads them, or None.
    given : weights that are used without training, or None. versions : of the numerical packages.
    site : files of the site of which a map is made, or None.
    init : weights that the first stages of trained systems start from, by system.
    index : digests of the split's index files, in the order of the splits; empty if none are used.
    rivals : given weights of rivals, by name.
    far : digests of the coarse DEMs that continue the terrain, in the order of the config.
    """

    files: InputFiles
    lpips: str | None = None
    kernels: list[str] = field(default_factory=list)
    spiceypy: str | None = None
    given: GivenWeights | None = None
    versions: dict[str, str] = field(default_factory=dict)
    site: SiteFiles | None = None
    init: dict[str, InitWeights] = field(default_factory=dict)
    index: list[str] = field(default_factory=list)
    rivals: dict[str, GivenWeights] = field(default_factory=dict)
    far: list[str] = field(default_factory=list)

    @classmethod
    def look(cls, config: Config, root: Path) -> Found:
        """Compute the digests of the files that the config names, and look up the installed packages.

        Raises
        ------
        ConfigError
            If a file or package that the config needs is absent, or given weights do not fit the config.
        """
        memory = DigestMemory(root / DIGESTS)
        files = resolve_inputs(config, root, memory)
        path = config.vae.lpips_weights if config.systems else None
        lpips = _digests([path] if path else [], root, memory, "vae.lpips_weights", "a safetensors file")
        used = config.ephemeris.kernels if config.by_ephemeris() else []
        kernels = _digests(used, root, memory, "ephemeris.kernels", "a file")
        index = _digests(config.split.index_files, root, memory, "split.index", "a file")
        far = _digests(config.inputs.far_entries, root, memory, "inputs.far", "a file")
        beside = [
            each for entry in config.inputs.far_entries for each in files_read(Path(entry), root, memory)[1:]
        ]
        far += [f"sha256:{memory.sha256(root / each)}" for each in beside]
        given = resolve_given(config, root, memory)
        init, rivals = resolve_init(config, root, memory), resolve_rivals(config, root, memory)
        site = resolve_site(config, root, memory)
        memory.save()
        spice = spice_version() if kernels else None
        return cls(
            files=files,
            lpips=lpips[0] if lpips else None,
            kernels=kernels,
            spiceypy=spice,
            given=given,
            versions=versions(),
            site=site,
            init=init,
            index=index,
            rivals=rivals,
            far=far,
        )

    @classmethod
    def remember(cls, record: Mapping[str, Any]) -> Found:
        """Take digests and versions from the record of a plan."""
        found = record["found"]
        urls = {local: (url, pin) for local, url, pin in found["urls"]}
        return cls(
            InputFiles(tuple(found["dem"]), tuple(found["count"]), urls, record["files"]),
            found["lpips"],
            list(found["kernels"]),
            found["spiceypy"],
            GivenWeights(**found["given"]) if found["given"] else None,
            record["versions"],
            SiteFiles(**found["site"]) if found.get("site") else None,
            {system: InitWeights(**weights) for system, weights in found.get("init", {}).items()},
            list(found.get("index", [])),
            {name: GivenWeights(**weights) for name, weights in found.get("rivals", {}).items()},
            list(found.get("far", [])),
        )

    def record(self) -> dict[str, Any]:
        """What `remember` reads, as JSON values."""
        return {
            "files": self.files.identity,
            "found": {
                "dem": list(self.files.dem),
                "count": list(self.files.count),
                "urls": [[local, *place] for local, place in self.files.urls.items()],
                "lpips": self.lpips,
                "kernels": self.kernels,
                "spiceypy": self.spiceypy,
                "given": None if self.given is None else asdict(self.given),
                "site": None if self.site is None else self.site.record(),
                "init": {system: asdict(weights) for system, weights in self.init.items()},
                "index": self.index,
                "rivals": {name: asdict(weights) for name, weights in self.rivals.items()},
                "far": self.far,
            },
            "versions": self.versions,
        }


def _digests(paths: list[str], root: Path, memory: DigestMemory, key: str, what: str) -> list[str]:
    """Digests of files in their order; paths do not enter the keys.

    Raises
    ------
    ConfigError
        If a file is absent.
    """
    for path in paths:
        if not (root / path).is_file():
            raise ConfigError.unlike(key, what, f"no file {path!r}")
    return [f"sha256:{memory.sha256(root / path)}" for path in paths]


@cache
def versions() -> dict[str, str]:
    """Versions of the installed packages that the results depend on."""
    found = {}
    for name in _NUMERIC:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name).split("+")[0]
    return found


def spice_version() -> str:
    """Version of the package that computes the Sun's track.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        return importlib.metadata.version("spiceypy")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            "config: place: ephemeris: expected SPICE, found no package spiceypy; install it with "
            '`pip install "lunar-bridge[ephemeris]"` (or `pip install spiceypy`)'
        ) from None
