"""The stages of a run and their keys.

A stage's key is the first 12 hex digits of the sha256 of: the canonical JSON of the config it depends on,
the digest of the library code it runs, and the keys of its inputs. Resources, worker counts, labels and
log levels never enter. Files enter by sha256; a file that is downloaded enters by its URL and pinned digest.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

from pipeline.config.base import canonical_json
from pipeline.config.inputs import is_url
from pipeline.config.root import BRIDGE_STAGES, Config, ConfigError
from pipeline.provenance.digest import DigestMemory, code_digest

STORE = Path("results/store")
DOWNLOADS = Path("resources/downloads")
DIGESTS = Path("results/.digests.json")

# Packages whose version can change the bytes of a final artefact.
_NUMERIC = ("torch", "numpy", "scipy", "numba", "embreex", "rasterio", "zarr")


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


@dataclass(frozen=True)
class Stage:
    """One stage of the plan: its key, where its results live, and the config it depends on.

    `identity` is what later stages' keys are made of: the key, but for stages whose results name local
    paths; those have a folder of their own for each place, and the same identity everywhere.
    """

    name: str
    section: str
    code: str
    inputs: tuple[str, ...]
    key: str
    identity: str
    folder: str = field(default="")

    def path(self, *parts: str) -> str:
        """A file in the stage's folder."""
        return "/".join((self.folder, *parts))


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
            wanted = [entry, *([sibling(entry, ".lbl")] if entry.lower().endswith(".img") else [])]
            for url in wanted:
                name, local = download_place(url)
                if local in urls and urls[local][0] != url:
                    raise ConfigError(f"config: inputs: two URLs end in {name!r}; expected different names")
                urls[local] = (url, pins.get(name))
                identity.append([role, url, pins.get(name) or "unpinned"])
            lists[role].append(download_place(entry)[1])
            continue
        # Path.glob refuses absolute patterns, which users do give.
        found = sorted(glob(entry, root_dir=root))  # noqa: PTH207
        if not found:
            raise ConfigError(
                f"config: inputs.{role}: expected a file, a glob or a URL, found no file {entry!r}"
            )
        for local in found:
            digest = memory.sha256(root / local)
            pinned = pins.get(Path(local).name)
            if pinned and pinned != digest:
                raise ConfigError(f"config: inputs.sha256: {local}: expected {pinned}, found {digest}")
            lists[role].append(local)
            identity.append([role, Path(local).name, digest])
    if lists["count"] and len(lists["count"]) != len(lists["dem"]):
        raise ConfigError(
            f"config: inputs.count: expected {len(lists['dem'])} files, one for each DEM, "
            f"found {len(lists['count'])}"
        )
    return InputFiles(tuple(lists["dem"]), tuple(lists["count"]), urls, identity)


def download_place(url: str) -> tuple[str, str]:
    """Name of a URL's file and the path where its download lands."""
    name = url.rstrip("/").rsplit("/", 1)[-1].split("?")[0]
    return name, (DOWNLOADS / name).as_posix()


def sibling(url: str, suffix: str) -> str:
    """The URL of a file with another suffix, in the case that the URL's own suffix has."""
    stem, found = url[:-4], url[-4:]
    return stem + (suffix.upper() if found.isupper() else suffix)


class Plan:
    """All stages of a config, in the order they run.

    Parameters
    ----------
    config : validated configuration.
    root : folder that the paths are relative to (the working directory of the workflow).
    """

    def __init__(self, config: Config, root: Path | str = ".") -> None:
        self.config = config
        root = Path(root)
        memory = DigestMemory(root / DIGESTS)
        self.files = resolve_inputs(config, root, memory)
        memory.save()
        self.stages: dict[str, Stage] = {}
        self._build()

    def __getitem__(self, name: str) -> Stage:
        return self.stages[name]

    @property
    def results(self) -> str:
        """Folder of what belongs to this run alone."""
        return f"results/{self.config.run}"

    @property
    def systems(self) -> list[str]:
        """Names in the metrics of all trained systems, e.g. ``bridge_missing``."""
        return [f"{system}_{stage}" for system in self.config.systems for stage in BRIDGE_STAGES]

    @property
    def needs_vae(self) -> bool:
        """Whether any trained system lives in the latent space."""
        return any(self.section_of(system).space == "latent" for system in self.config.systems)

    def section_of(self, system: str) -> Any:
        """Config section of ``published`` or ``bridge``."""
        return getattr(self.config, system)

    def _add(
        self,
        name: str,
        section: Any,
        code: tuple[str, ...],
        inputs: tuple[str, ...],
        store: bool = True,
        local: Any = None,
    ) -> None:
        """Add a stage; `local` (paths) enters the key of its folder but not what later stages depend on."""
        text = canonical_json(section)
        digest = code_digest(code)
        body = {
            "stage": name,
            "section": text,
            "code": digest,
            "versions": _versions(),
            "inputs": [[i, self.stages[i].identity] for i in inputs],
        }
        identity = _key(body)
        key = identity if local is None else _key({**body, "local": local})
        folder = (STORE / name / key).as_posix() if store else f"{self.results}/{name}"
        self.stages[name] = Stage(name, text, digest, inputs, key, identity, folder)

    def _build(self) -> None:
        c = self.config
        p = c.patches
        dump: Callable[[Any], Any] = _dump

        def pick(section: Any, *keys: str) -> dict[str, Any]:
            return {key: dump(section)[key] for key in keys}

        terrain: dict[str, Any] = {"pixel_m": c.inputs.pixel_m, "files": self.files.identity}
        code: tuple[str, ...] = ("pipeline.terrain.index",)
        if c.inputs.synthetic:
            self._add("synthetic", dump(c.synthetic), ("pipeline.terrain.synthetic",), ())
            self._add("terrain", terrain, code, ("synthetic",))
        else:
            local = [*self.files.dem, *self.files.count]
            self._add("terrain", terrain, code, (), local=local)
        geometry = pick(p, "size_px", "halo_px", "stride_px", "tiles")
        self._add("patches", geometry, ("pipeline.terrain.extract",), ("terrain",))
        self._add("selected", dump(c.coverage), ("pipeline.terrain.coverage",), ("patches",))
        split = {**dump(c.split), **pick(p, "size_px")}
        self._add("split", split, ("pipeline.terrain.split",), ("selected",))
        light = {**dump(c.illumination), **pick(p, "size_px")}
        self._add("visibility", light, ("pipeline.illumination.trace",), ("patches", "selected"))
        arcs = {"tolerance": c.arcs.tolerance, "test": dump(c.arcs)["test"], "seed": c.arcs.seed}
        self._add("arcs", arcs, ("pipeline.illumination.arcs",), ("selected", "split", "visibility"))
        masks = {"test": dump(c.masks.test), "seed": c.masks.seed, **pick(p, "size_px")}
        self._add("masks", masks, ("pipeline.illumination.masks",), ("arcs",))
        write = {**pick(p, "factor")}
        code = ("pipeline.shards.write",)
        self._add("shards", write, code, ("patches", "split", "visibility"))
        self._add("shards_test", write, code, ("patches", "split", "visibility", "arcs", "masks"))
        code = ("pipeline.shards.manifest",)
        self._add("manifest", dump(c.shards), code, ("shards",))
        self._add("manifest_test", {}, code, ("shards_test",))
        self._build_models(dump)
        self._build_results(dump)

    def _build_models(self, dump: Callable[[Any], Any]) -> None:
        c = self.config
        self._add(
            "vae",
            {"vae": dump(c.vae), "training": dump(c.training)},
            ("pipeline.training.vae",),
            ("manifest",),
        )
        for system in c.systems:
            section = self.section_of(system)
            before: tuple[str, ...] = ("manifest", "vae") if section.space == "latent" else ("manifest",)
            for stage in BRIDGE_STAGES:
                own = dump(section)
                # How samples are drawn does not change the weights; other stages' budgets come in by key.
                sampler = own.pop("sampler")
                del sampler
                own["optimiser"] = own.pop("stages")[stage]
                content = {
                    "bridge": own,
                    "stage": stage,
                    "training": dump(c.training),
                    "photometry": dump(c.photometry),
                }
                if stage == "fibonacci":
                    content["images"] = dump(c.arcs.train.images)
                else:
                    content["arcs"] = {"tolerance": c.arcs.tolerance, "train": dump(c.arcs.train)}
                if stage == "missing":
                    content["masks"] = dump(c.masks.train)
                self._add(f"{system}_{stage}", content, ("pipeline.training.bridge",), before)
                before = (*(b for b in before if not b.startswith(system)), f"{system}_{stage}")

    def _build_results(self, dump: Callable[[Any], Any]) -> None:
        c = self.config
        scene = {
            "evaluation": dump(c.evaluation),
            "photometry": dump(c.photometry),
            "cpu_threads": c.training.cpu_threads,
        }
        lone = ("manifest_test",)
        code: tuple[str, ...] = ("pipeline.evaluation.baselines",)
        self._add("evaluation_baselines", scene, code, lone, store=False)
        self._add(
            "evaluation_floors", scene, ("pipeline.evaluation.floors",), ("manifest_test", "vae"), store=False
        )
        code = ("pipeline.evaluation.systems",)
        for system in c.systems:
            sampler = {
                "sampler": dump(self.section_of(system).sampler),
                "bridge": dump(self.section_of(system)),
            }
            del sampler["bridge"]["stages"]
            latent = ("vae",) if self.section_of(system).space == "latent" else ()
            for stage in BRIDGE_STAGES:
                name = f"{system}_{stage}"
                self._add(
                    f"evaluation_{name}", {**scene, **sampler}, code, (*lone, name, *latent), store=False
                )
        parts = ("evaluation_baselines", "evaluation_floors", *(f"evaluation_{s}" for s in self.systems))
        collect = {"primary": c.primary, "systems": c.systems}
        self._add("evaluation", collect, ("pipeline.evaluation.collect",), parts, store=False)
        primary = c.primary.split("_")[0]
        region = {
            "region": dump(c.region),
            "photometry": dump(c.photometry),
            "illumination": dump(c.illumination),
            "tolerance": c.arcs.tolerance,
            "factor": c.patches.factor,
            "size_px": c.patches.size_px,
            "stride_px": c.patches.stride_px,
            "bridge": {k: v for k, v in dump(self.section_of(primary)).items() if k != "stages"},
            "cpu_threads": c.training.cpu_threads,
        }
        before = ("terrain", "split", c.primary)
        if self.section_of(primary).space == "latent":
            before = (*before, "vae")
        self._add("region", region, ("pipeline.region.reconstruct",), before, store=False)
        shown = ("evaluation", "region", "manifest", "manifest_test", "vae", *self.systems)
        report = {"report": dump(c.report), "photometry": dump(c.photometry)}
        self._add("report", report, ("pipeline.evaluation.report",), shown, store=False)
        self._add("bundle", {"run": c.run}, ("pipeline.provenance.bundle",), ("report",), store=False)

    @property
    def record_json(self) -> str:
        """`record` as canonical JSON, for a rule's params."""
        return canonical_json(self.record())

    def record(self) -> dict[str, Any]:
        """What ``stages.json`` says: every stage's key, section, code digest and inputs."""
        return {
            "schema": "stages/1",
            "run": self.config.run,
            "config": self.config.model_dump(mode="json", exclude={"runtime"}),
            "files": self.files.identity,
            "versions": _versions(),
            "stages": {
                name: {
                    "key": stage.key,
                    "section": stage.section,
                    "code": stage.code,
                    "inputs": list(stage.inputs),
                    "folder": stage.folder,
                }
                for name, stage in self.stages.items()
            },
        }


def _key(body: Any) -> str:
    """First 12 hex digits of the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()[:12]


def _dump(section: Any) -> Any:
    """A section as JSON values."""
    return section.model_dump(mode="json")


def _versions() -> dict[str, str]:
    """Versions of the packages that compute the results."""
    return {name: importlib.metadata.version(name).split("+")[0] for name in _NUMERIC}
