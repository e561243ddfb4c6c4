"""The raster files of a run: what the config's entries mean, and what of the files enters the keys."""

from __future__ import annotations

from dataclasses import dataclass
from glob import glob
from pathlib import Path

from pipeline.config.inputs import is_url
from pipeline.config.root import Config, ConfigError
from pipeline.provenance.digest import DigestMemory

DOWNLOADS = Path("resources/downloads")


@dataclass(frozen=True)
class InputFiles:
    """The raster files of one run, in the order of the config.

    Attributes
    ----------
    dem, count : local paths (where a download will land, for URLs).
    urls : local path -> (URL, pinned sha256 or None).
    identity : what of them enters the key.
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
    """Expand globs and URLs and take the files' digests.

    Raises
    ------
    ConfigError
        If an entry matches no file, or DEM and count entries match different numbers of files.
    """
    urls: dict[str, tuple[str, str | None]] = {}
    identity: list[list[str]] = []
    lists: dict[str, list[str]] = {"dem": [], "count": []}
    pins = config.inputs.sha256
    entries = [("dem", e) for e in config.inputs.dem_entries if not config.inputs.synthetic]
    entries += [("count", e) for e in config.inputs.count_entries]
    for role, entry in entries:
        if is_url(entry):
            # A PDS image is nothing without its label, which lies beside it.
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
            for path in with_label(Path(local), root):
                digest = memory.sha256(root / path)
                _check_pin(path.as_posix(), digest, pins.get(path.name))
                identity.append([role, path.name, digest])
    if lists["count"] and len(lists["count"]) != len(lists["dem"]):
        files = f"{len(lists['dem'])} files, one for each DEM"
        raise ConfigError.unlike("inputs.count", files, len(lists["count"]))
    return InputFiles(tuple(lists["dem"]), tuple(lists["count"]), urls, identity)


def with_label(path: Path, root: Path) -> list[Path]:
    """A raster file and, for a PDS image, the label beside it, without which it means nothing."""
    if path.suffix.lower() != ".img":
        return [path]
    labels = (path.with_suffix(suffix) for suffix in (".lbl", ".LBL"))
    return [path, *(label for label in labels if (root / label).is_file())]


def _check_pin(path: str, digest: str, pinned: str | None) -> None:
    if pinned and pinned != digest:
        raise ConfigError.unlike(f"inputs.sha256: {path}", pinned, digest)


def download_place(url: str) -> tuple[str, str]:
    """Name of a URL's file and the path where its download lands."""
    name = url.rstrip("/").rsplit("/", 1)[-1].split("?")[0]
    return name, (DOWNLOADS / name).as_posix()


def sibling(url: str, suffix: str) -> str:
    """The URL of a file with another suffix, in the case that the URL's own suffix has."""
    stem, found = url[:-4], url[-4:]
    return stem + (suffix.upper() if found.isupper() else suffix)
