"""The stages of a run, their keys and their folders.

A stage's key is the first 12 hex digits of the sha256 of: the canonical JSON of its section, the digest of
the library code it runs, and the keys of its inputs. Resources, worker counts, labels and log levels never
enter. Files, including given weights, enter by sha256; a downloaded file enters by its URL and pinned digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.base import canonical_json
from pipeline.config.names import SystemName
from pipeline.config.root import Config, ConfigError
from pipeline.provenance.digest import code_digest, value_key
from pipeline.provenance.found import Found
from pipeline.provenance.run import Run
from pipeline.provenance.sections import filled
from pipeline.provenance.stages import DECLARATIONS, MAPS, Declaration
from pipeline.storage.calibration_law import FILE as CALIBRATION

STORE = Path("results/store")
_FILES = {"model": "model.safetensors", "vae": "model.safetensors", "calibration": CALIBRATION}


@dataclass(frozen=True)
class Stage:
    """One stage of the plan: its key, the folder of its results, and what it depends on.

    `identity` enters the keys of later stages. It is the key, except for stages whose results contain local
    paths: their key, and hence their folder, depends on these paths, and their identity does not.
    """

    name: str
    section: str
    code: str
    inputs: tuple[str, ...]
    key: str
    identity: str
    folder: str

    def path(self, *parts: str) -> str:
        """A file in the stage's folder."""
        return "/".join((self.folder, *parts))

    def record(self) -> dict[str, Any]:
        """The stage's entry in ``stages.json``."""
        kept = {key: getattr(self, key) for key in ("key", "section", "code", "folder")}
        return kept | {"inputs": list(self.inputs)}


class Plan(Run):
    """All stages of a config, in the order they run.

    Parameters
    ----------
    config : validated configuration.
    root : folder that the paths are relative to (the working directory of the workflow).
    recorded : `record` of an earlier plan, whose digests of files and versions of packages are used, so that
        a run can be planned again without its input files.
    source : folder of the package whose code enters the keys, this one by default; it is not run.

    Raises
    ------
    ConfigError
        If files, weights or packages are absent or do not fit the config (`Found.look`), or two stages have
        the same name.
    """

    def __init__(
        self,
        config: Config,
        root: Path | str = ".",
        recorded: Mapping[str, Any] | None = None,
        source: Path | None = None,
    ) -> None:
        found = Found.look(config, Path(root)) if recorded is None else Found.remember(recorded)
        super().__init__(config, found)
        self.stages: dict[str, Stage] = {}
        for declaration in DECLARATIONS if self.site is None else MAPS:
            for label in declaration.over(self):
                stage = self._stage(declaration, label, source)
                if stage.name in self.stages:  # rivals' variants may have any name
                    raise ConfigError.unlike("predictors.variants", "names of no stage", repr(stage.name))
                self.stages[stage.name] = stage

    def _stage(self, declared: Declaration, label: str, source: Path | None) -> Stage:
        """A declared stage with its key and folder."""
        name, own = declared.name.format(label), declared.section(self, label)
        inputs = [i for i in (each.format(label) for each in declared.inputs) if i in self.stages]
        inputs += declared.also(self, label)
        section = filled(declared.kind, self.config, declared.of, own).canonical()
        code = code_digest((declared.code, *declared.chosen(self, label)), source)
        body = {
            "stage": name,
            "section": section,
            "code": code,
            "versions": self.found.versions,
            "inputs": [[i, self.stages[i].identity] for i in inputs],
        }
        identity, local = value_key(body), declared.local(self)
        key = identity if local is None else value_key({**body, "local": local})
        folder = (STORE / name / key).as_posix() if declared.stored else f"{self.results}/{name}"
        return Stage(name, section, code, tuple(inputs), key, identity, folder)

    def __getitem__(self, name: str) -> Stage:
        return self.stages[name]

    @property
    def results(self) -> str:
        """Folder of the run's own results."""
        return f"results/{self.config.run}"

    def files_of(self, name: str) -> dict[str, list[str]]:
        """Paths of a predictor's weights by role; lists may be empty, e.g. the VAE's in pixel space."""
        made = {role: [self[s].path(_FILES[role])] for role, s in self.weights_stages(name).items()}
        found = made or {role: self.given_files(role, name)[:1] for role in self.predictors[name].files}
        return {role: found.get(role, []) for role in _FILES}

    @property
    def shipped(self) -> dict[str, tuple[str, str | None, str | None]]:
        """Paths of trained weights by published name: model, VAE and calibration (or None) of each.

        Systems have those of the last stage of their training; learned rivals have their own.
        """
        last = {SystemName.of(name).system: name for name in self.systems if self.last(name)}
        out: dict[str, tuple[str, str | None, str | None]] = {}
        for name, stage in {**last, **{n: n for n in self.learned}}.items():
            found = self.files_of(stage)
            vae, calibration = (next(iter(found[role]), None) for role in ("vae", "calibration"))
            out[name] = (found["model"][0], vae, calibration)
        return out

    @property
    def track(self) -> str | None:
        """Path of the Sun's track, if some draws have ``place: ephemeris``."""
        return self["ephemeris"].path("track.json") if "ephemeris" in self.stages else None

    @property
    def record_json(self) -> str:
        """`record` as canonical JSON, for a rule's params."""
        return canonical_json(self.record())

    @property
    def record_key(self) -> str:
        """Key of the record: the run record is written again when it changes."""
        return value_key(self.record())

    def record(self) -> dict[str, Any]:
        """Content of ``stages.json``: config, digests, versions, and the entries of all stages."""
        return {
            "schema": "stages/1",
            "run": self.config.run,
            "config": self.config.model_dump(mode="json", exclude={"runtime"}),
            **self.found.record(),
            "stages": {name: stage.record() for name, stage in self.stages.items()},
        }
