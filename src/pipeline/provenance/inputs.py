"""The raster files of a run: resolves the config's entries to paths, and computes their identity."""

from __future__ import annotations

from dataclasses import dataclass
from glob import glob
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.config.inputs import is_url
from pipeline.config.root import Config, ConfigError
from pipeline.provenance.digest import DigestMemory
from pipeline.provenance.read_files import files_read

DOWNLOADS = Path("resources/downloads")


@dataclass(frozen=True)
class InputFiles:
    """The raster files of one run, in the order of the config.

    Attributes
    ----------
    dem, count : local paths (of the future download, for URLs).
    urls : local path -> (URL, pinned sha256 or None).
    identity : what enters the key: role, file name and digest (of URLs: URL and pin) of each.
    """

    dem: tuple[str, ...]
    count: tuple[str, ...]
    urls: dict[str, tuple[str, str | None]]
    identity: list[list[str]]

    @property
    def local(self) -> list[str]:
        """All local paths."""
        return [*self.dem, *self.count]


def resolve_inputs(config: Config, root: Path, memory: DigestMemory) -> InputFiles:
    """Expand globs and URLs and compute the files' digests.

    Raises
    ------
    ConfigError
        If an entry matches no file, a digest is not the pinned one, two URLs end in the same name or one in
        none, or DEM and count entries match different numbers of files.
    """
    urls: dict[str, tuple[str, str | None]] = {}
    identity: list[list[str]] = []
    lists: dict[str, list[str]] = {"dem": [], "count": []}
    pins = config.inputs.sha256
    entries = [("dem", e) for e in config.inputs.dem_entries if not config.inputs.synthetic]
    entries += [("count", e) for e in config.inputs.count_entries]
    for role, entry in entries:
        if is_url(entry):
            # A PDS3 image cannot be read without its label, which is beside it.
            label = [sibling(entry, ".lbl")] if entry.lower().endswith(".img") else []
            for url in (entry, *label):
                name, local = download_place(url)
                if local in urls and urls[local][0] != url:
                    raise ConfigError(f"config: inputs: two URLs end in {name!r}; expected different names")
                urls[local] = (url, pins.get(name))
                if pins.get(name) and (root / local).is_file():
                    _check_pin(local, memory.sha256(root / local), pins[name])
                identity.append([role, url, pins.get(name) or "unpinned"])
            lists[role].append(download_place(entry)[1])
            continue
        # Path.glob refuses absolute patterns, which users do give.
        found = sorted(glob(entry, root_dir=root))  # noqa: PTH207
        if not found:
            raise ConfigError.unlike(f"inputs.{role}", "a file, a glob or a URL", f"no file {entry!r}")
        for local in found:
            lists[role].append(local)
            for path in files_read(Path(local), root, memory):
                digest = memory.sha256(root / path)
                _check_pin(path.as_posix(), digest, pins.get(path.name))
                identity.append([role, path.name, digest])
    if lists["count"] and len(lists["count"]) != len(lists["dem"]):
        files = f"{len(lists['dem'])} files, one for each DEM"
        raise ConfigError.unlike("inputs.count", files, len(lists["count"]))
    return InputFiles(tuple(lists["dem"]), tuple(lists["count"]), urls, identity)


def _check_pin(path: str, digest: str, pinned: str | None) -> None:
    if pinned and pinned != digest:
        raise ConfigError.unlike(f"inputs.sha256: {path}", pinned, digest)


def download_place(url: str) -> tuple[str, str]:
    """File name at the end of a URL's path, and the path of its download.

    Raises
    ------
    ConfigError
        If the path ends in no file name.
    """
    name = urlsplit(url).path.rstrip("/").rsplit("/", 1)[-1]
    if name in ("", ".", ".."):
        raise ConfigError.unlike("inputs", "URLs whose path ends in a file name", repr(url))
    return name, (DOWNLOADS / name).as_posix()


def sibling(url: str, suffix: str) -> str:
    """The URL with another suffix, in upper case if the URL's own suffix is."""
    stem, found = url[:-4], url[-4:]
    return stem + (suffix.upper() if found.isupper() else suffix)
