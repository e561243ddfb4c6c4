"""The stages of a run and their keys.

A stage's key is the first 12 hex digits of the sha256 of: the canonical JSON of the config it depends on,
the digest of the library code it runs, and the keys of its inputs. Resources, worker counts, labels and
log levels never enter. Files, given weights among them, enter by sha256; a file that is downloaded enters by
its URL and pinned digest.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config.base import canonical_json
from pipeline.config.bridge import SamplerSection
from pipeline.config.pretrained import PRETRAINED
from pipeline.config.root import BRIDGE_STAGES, Config, ConfigError
from pipeline.config.stages.region import RegionStage
from pipeline.provenance.digest import DigestMemory, code_digest
from pipeline.provenance.given import GivenWeights, resolve_given
from pipeline.provenance.inputs import InputFiles, resolve_inputs

STORE = Path("results/store")
DIGESTS = Path("results/.digests.json")

# Packages whose version can change the bytes of a final artefact.
_NUMERIC = ("torch", "numpy", "scipy", "numba", "embreex", "rasterio", "zarr")


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


class Plan:
    """All stages of a config, in the order they run.

    Parameters
    ----------
    config : validated configuration.
    root : folder that the paths are relative to (the working directory of the workflow).
    recorded : `record` of an earlier plan; its digests of files and versions of packages stand for those
        found here, so that a run is planned again where its input files are not.
    source : the package whose code enters the keys, when it is not this one; it is not run.
    """

    def __init__(
        self,
        config: Config,
        root: Path | str = ".",
        recorded: Mapping[str, Any] | None = None,
        source: Path | None = None,
    ) -> None:
        self.config = config
        self._source = source
        self.stages: dict[str, Stage] = {}
        if recorded is None:
            self._look(config, Path(root))
        else:
            self._remember(recorded)
        self._build()

    def _look(self, config: Config, root: Path) -> None:
        """Take the digests of the files, and the versions of the packages, that are here."""
        memory = DigestMemory(root / DIGESTS)
        self.files = resolve_inputs(config, root, memory)
        self._lpips = self._weights_digest(root, memory)
        self._kernels = self._kernel_digests(root, memory)
        self.given = resolve_given(config, root, memory)
        memory.save()
        self._packages = _versions()
        self._spice = _spice_version() if self._kernels else None

    def _remember(self, record: Mapping[str, Any]) -> None:
        """Take digests and versions from a record."""
        found = record["found"]
        urls = {local: (url, pin) for local, url, pin in found["urls"]}
        self.files = InputFiles(tuple(found["dem"]), tuple(found["count"]), urls, record["files"])
        self._lpips, self._kernels = found["lpips"], list(found["kernels"])
        self.given = GivenWeights(**found["given"]) if found["given"] else None
        self._packages, self._spice = record["versions"], found["spiceypy"]

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
    def scored(self) -> list[str]:
        """Names in the metrics of all that is evaluated: the trained stages, or the given weights."""
        return self.systems if self.given is None else [PRETRAINED]

    def model_of(self, name: str) -> str:
        """Weights of a name in the metrics."""
        return self[name].path("model.safetensors") if self.given is None else self.given.model

    def vae_of(self, name: str) -> list[str]:
        """The VAE's weights of a name in the metrics, as a list that is empty in pixel space."""
        if self.given is not None:
            return self.given.vae_files
        return [self["vae"].path("model.safetensors")] if "vae" in self._model_stages(name) else []

    def calibration_of(self, name: str) -> list[str]:
        """The calibration of a name in the metrics, as a list that is empty where there is none."""
        if self.given is not None:
            return self.given.files["calibration"]
        stage = f"calibration_{name}"
        return [self[stage].path("calibration.json")] if stage in self.stages else []

    @property
    def calibrated(self) -> list[str]:
        """Names in the metrics of the trained systems that are calibrated."""
        return [name for name in self.systems if f"calibration_{name}" in self.stages]

    def given_files(self, role: str) -> list[str]:
        """Files of the given weights' ``model``, ``vae`` or ``calibration``; empty where none are given."""
        return [] if self.given is None else self.given.files[role]

    @property
    def floor_vae(self) -> list[str]:
        """Weights of the VAE whose floors are measured, as a list that is empty where there is none."""
        if self.given is not None:
            return self.given.vae_files
        return [self["vae"].path("model.safetensors")]

    def section_of(self, system: str) -> Any:
        """Config section of a system."""
        return self.config.system(system)

    def _weights_digest(self, root: Path, memory: DigestMemory) -> str | None:
        """What of the perceptual loss's weights enters the VAE's key: their bytes, not their place."""
        path = self.config.vae.lpips_weights
        if path is None or not self.config.systems:
            return None
        if not (root / path).is_file():
            raise ConfigError(
                f"config: vae.lpips_weights: expected a safetensors file, found no file {path!r}"
            )
        return f"sha256:{memory.sha256(root / path)}"

    def _kernel_digests(self, root: Path, memory: DigestMemory) -> list[str]:
        """What of the SPICE kernels enters the track's key: their bytes in their order, not their places."""
        if not self.config.by_ephemeris():
            return []
        for path in self.config.ephemeris.kernels:
            if not (root / path).is_file():
                raise ConfigError(f"config: ephemeris.kernels: expected a file, found none at {path!r}")
        return [f"sha256:{memory.sha256(root / path)}" for path in self.config.ephemeris.kernels]

    @property
    def track(self) -> str | None:
        """The Sun's track, where some draws have ``place: ephemeris``."""
        return self["ephemeris"].path("track.json") if "ephemeris" in self.stages else None

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
        digest = code_digest(code, self._source)
        body = {
            "stage": name,
            "section": text,
            "code": digest,
            "versions": self._packages,
            "inputs": [[i, self.stages[i].identity] for i in inputs],
        }
        identity = _key(body)
        key = identity if local is None else _key({**body, "local": local})
        folder = (STORE / name / key).as_posix() if store else f"{self.results}/{name}"
        self.stages[name] = Stage(name, text, digest, inputs, key, identity, folder)

    def _build(self) -> None:
        c = self.config
        p, pick = c.patches, _picked
        dump: Callable[[Any], Any] = _dump

        terrain: dict[str, Any] = {"pixel_m": c.inputs.pixel_m, "files": self.files.identity}
        code: tuple[str, ...] = ("pipeline.terrain.index",)
        if c.inputs.synthetic:
            self._add("synthetic", dump(c.synthetic), ("pipeline.terrain.synthetic.world",), ())
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
        far = ("far",) if c.illumination.far_m > 0 else ()
        if far:
            cell = pick(c.illumination, "far_cell_px")
            self._add("far", cell, ("pipeline.illumination.far_blocks",), ("terrain",))
        before = ("patches", "selected", *far)
        self._add("visibility", light, ("pipeline.illumination.trace",), before)
        if self._kernels:
            track = {**dump(c.ephemeris), "kernels": self._kernels, "spiceypy": self._spice}
            self._add("ephemeris", track, ("pipeline.illumination.ephemeris",), ())
        arcs = {"tolerance": c.arcs.tolerance, "test": dump(c.arcs)["test"], "seed": c.arcs.seed}
        tested = {draw.place for draw in c.arcs.test.values()}
        own = ("patches",) if tested - {"assumed"} else ()
        suns = ("ephemeris",) if "ephemeris" in tested else ()
        before = ("selected", "split", "visibility", *own, *suns)
        self._add("arcs", arcs, ("pipeline.illumination.arcs",), before)
        masks = {"test": dump(c.masks.test), "seed": c.masks.seed, **pick(p, "size_px")}
        own = ("patches",) if c.masks.test.kind == "nac" else ()
        self._add("masks", masks, ("pipeline.illumination.masks",), ("arcs", *own))
        write = {**pick(p, "factor")}
        code = ("pipeline.shards.write",)
        if c.systems:
            self._add("shards", write, code, ("patches", "split", "visibility"))
        if c.shards.radiance:
            write["radiance"], code = dump(c.photometry), (*code, "pipeline.shards.radiance")
        self._add("shards_test", write, code, ("patches", "split", "visibility", "arcs", "masks"))
        code = ("pipeline.shards.manifest",)
        self._add("manifest_test", {}, code, ("shards_test",))
        if c.systems:
            self._add("manifest", pick(c.shards, "statistics_patches"), code, ("shards",))
            self._build_models(dump)
        self._build_results(dump)

    def _build_models(self, dump: Callable[[Any], Any]) -> None:
        c, pick = self.config, _picked
        vae = {"vae": {**dump(c.vae), "lpips_weights": self._lpips}, "training": dump(c.training)}
        self._add("vae", vae, ("pipeline.training.vae",), ("manifest",))
        draws = c.arcs.test
        main = draws.get(c.evaluation.conditions["main"].draw, next(iter(draws.values())))
        for system in c.systems:
            section = self.section_of(system)
            before: tuple[str, ...] = ("manifest", "vae") if section.space == "latent" else ("manifest",)
            shown = (*before, "ephemeris") if main.place == "ephemeris" else before
            for stage in BRIDGE_STAGES:
                # How samples are drawn does not change the weights; other stages' budgets come in by key.
                own = section.model_dump(mode="json", exclude={"sampler", "stages", "calibrate"})
                own["optimiser"] = dump(section.stages)[stage]
                content = {
                    "stage": stage,
                    "training": dump(c.training),
                    "photometry": dump(c.photometry),
                    "imperfections": dump(c.imperfections.train),
                }
                if stage == "fibonacci":
                    content["images"] = dump(c.arcs.train.images)
                else:
                    content["arcs"] = {"tolerance": c.arcs.tolerance, "train": dump(c.arcs.train)}
                if stage == "missing":
                    content["masks"] = dump(c.masks.train)
                reads_track = stage != "fibonacci" and c.arcs.train.place == "ephemeris"
                inputs = (*before, "ephemeris") if reads_track else before
                name = f"{system}_{stage}"
                self._add(name, {**content, "bridge": own}, ("pipeline.training.bridge",), inputs)
                if section.calibrate:
                    fitted = {
                        "stage": stage,
                        "arcs": {"tolerance": c.arcs.tolerance, "main": dump(main)},
                        "photometry": dump(c.photometry),
                        "imperfections": dump(c.imperfections.train),
                        "sampler": dump(section.sampler),
                        "seed": section.seed,
                        **pick(c.training, "cpu_threads"),
                    }
                    code = ("pipeline.calibration.stage",)
                    self._add(f"calibration_{name}", fitted, code, (name, *shown))
                before = (*(b for b in before if not b.startswith(system)), f"{system}_{stage}")

    def _build_results(self, dump: Callable[[Any], Any]) -> None:
        c = self.config
        threads = {"cpu_threads": c.training.cpu_threads}
        chosen = c.evaluation.model_dump(mode="json", include={"max_patches", "bootstrap", "seed"})
        batch = {"batch": c.evaluation.batch}
        lone = ("manifest_test",)
        plain = {"evaluation": chosen, **threads}
        self._add("evaluation_baselines", plain, ("pipeline.evaluation.baselines",), lone, store=False)
        given = {} if self.given is None else {"weights": self.given.identity}
        if self.floor_vae:
            floors = {"evaluation": {**chosen, **batch}, **threads}
            if self.given is not None:
                vae = {name: value for name, value in self.given.identity.items() if name.startswith("vae.")}
                floors["weights"] = vae
            before: tuple[str, ...] = lone if self.given is not None else (*lone, "vae")
            self._add("evaluation_floors", floors, ("pipeline.evaluation.floors",), before, store=False)
        scene = {
            "photometry": dump(c.photometry),
            "imperfections": dump(c.imperfections.test),
            **threads,
        }
        code: tuple[str, ...] = ("pipeline.evaluation.systems",)
        for name in self.scored:
            section = {**scene, "sampler": dump(self._sampler_of(name)), **given}
            section["evaluation"] = self._evaluation_of(name)
            if self.given is not None:
                section["system"] = name
            before = (*lone, *self._model_stages(name))
            self._add(f"evaluation_{name}", section, code, before, store=False)
        floor = ("evaluation_floors",) if self.floor_vae else ()
        parts = ("evaluation_baselines", *floor, *(f"evaluation_{s}" for s in self.scored))
        collect = {"primary": c.primary, "systems": c.systems}
        self._add("evaluation", collect, ("pipeline.evaluation.collect",), parts, store=False)
        region = RegionStage(
            region=c.region,
            photometry=c.photometry,
            illumination=c.illumination,
            tolerance=c.arcs.tolerance,
            factor=c.patches.factor,
            size_px=c.patches.size_px,
            stride_px=c.patches.stride_px,
            sampler=self._sampler_of(c.primary),
            weights=given.get("weights", {}),
            cpu_threads=c.training.cpu_threads,
        )
        far = ("far",) if c.illumination.far_m > 0 else ()
        suns = ("ephemeris",) if c.region.light.place == "ephemeris" else ()
        before = ("terrain", "split", *far, *suns, *self._model_stages(c.primary))
        code = ("pipeline.region.reconstruct", "pipeline.region.render")
        self._add("region", dump(region), code, before, store=False)
        trained: tuple[str, ...] = ("manifest", "vae", *self.systems) if c.systems else ()
        shown = ("evaluation", "region", "manifest_test", *trained)
        # Both show the whole configuration.
        whole = _key(self.config.model_dump(mode="json", exclude={"runtime"}))
        report = {"report": dump(c.report), "photometry": dump(c.photometry), "config": whole}
        if self.given is not None:
            report["pretrained"] = self.given.facts
        self._add("report", report, ("pipeline.report.page",), shown, store=False)
        bundle = {"bundle": dump(c.bundle), "config": whole}
        self._add("bundle", bundle, ("pipeline.bundle.write",), ("report",), store=False)

    def _sampler_of(self, name: str) -> SamplerSection:
        """How clones of a name in the metrics are drawn."""
        if name == PRETRAINED:
            return self.config.pretrained.sampler
        sampler: SamplerSection = self.section_of(name.split("_")[0]).sampler
        return sampler

    def _model_stages(self, name: str) -> tuple[str, ...]:
        """The stages that make the weights of a name in the metrics; none makes given ones."""
        if name == PRETRAINED:
            return ()
        section = self.section_of(name.split("_")[0])
        calibration = (f"calibration_{name}",) if section.calibrate else ()
        return (name, *(("vae",) if section.space == "latent" else ()), *calibration)

    def _evaluation_of(self, model: str) -> dict[str, Any]:
        """The section ``evaluation`` with the conditions under which a trained stage is scored."""
        section: dict[str, Any] = _dump(self.config.evaluation)
        conditions = section["conditions"].items()
        section["conditions"] = {
            label: {key: value for key, value in condition.items() if key != "systems"}
            for label, condition in conditions
            if model == self.config.primary
            or condition["systems"] == "all"
            or (condition["systems"] == "last" and model.endswith(f"_{BRIDGE_STAGES[-1]}"))
        }
        return section

    @property
    def record_json(self) -> str:
        """`record` as canonical JSON, for a rule's params."""
        return canonical_json(self.record())

    @property
    def record_key(self) -> str:
        """What tells one record from another."""
        return _key(self.record())

    def record(self) -> dict[str, Any]:
        """What ``stages.json`` says: every stage's key, section, code digest and inputs."""
        return {
            "schema": "stages/1",
            "run": self.config.run,
            "config": self.config.model_dump(mode="json", exclude={"runtime"}),
            "files": self.files.identity,
            "found": {
                "dem": list(self.files.dem),
                "count": list(self.files.count),
                "urls": [[local, *place] for local, place in self.files.urls.items()],
                "lpips": self._lpips,
                "kernels": self._kernels,
                "spiceypy": self._spice,
                "given": None if self.given is None else asdict(self.given),
            },
            "versions": self._packages,
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


def _picked(section: Any, *keys: str) -> dict[str, Any]:
    """Some keys of a section as JSON values."""
    values = _dump(section)
    return {key: values[key] for key in keys}


@cache
def _versions() -> dict[str, str]:
    """Versions of the packages that compute the results."""
    return {name: importlib.metadata.version(name).split("+")[0] for name in _NUMERIC}


def _spice_version() -> str:
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
