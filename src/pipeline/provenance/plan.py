"""The stages of a run, their keys and their folders.

A stage's key is the first 12 hex digits of the sha256 of: the canonical JSON of its section, the digest of
the library code it runs, and the keys of its inputs. Resources, worker counts, labels and log levels never
enter. Files, given weights among them, enter by sha256; a file that is downloaded enters by its URL and
pinned digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.base import canonical_json
from pipeline.config.root import Config
from pipeline.predictors.registry import Entry
from pipeline.provenance.digest import code_digest, value_key
from pipeline.provenance.found import Found
from pipeline.provenance.stages import DECLARATIONS, Declaration, Run

STORE = Path("results/store")


@dataclass(frozen=True)
class Stage:
    """One stage of the plan: its key, where its results live, and what it depends on.

    `identity` is what later stages' keys are made of: the key, except for stages whose results name local
    paths; those have a folder of their own for each place, and the same identity everywhere.
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
        found = Found.look(config, Path(root)) if recorded is None else Found.remember(recorded)
        self.run = Run(config, found)
        self.files, self.given = found.files, found.given
        self.stages: dict[str, Stage] = {}
        for declaration in DECLARATIONS:
            for label in declaration.over(self.run):
                stage = self._stage(declaration, label, source)
                self.stages[stage.name] = stage

    def _stage(self, declared: Declaration, label: str, source: Path | None) -> Stage:
        """A declared stage with its key and folder."""
        name, inputs = declared.name.format(label), declared.inputs(self.run, label)
        section = declared.kind.model_validate(declared.section(self.run, label)).canonical()
        code = code_digest((*declared.code, *declared.chosen(self.run, label)), source)
        body = {
            "stage": name,
            "section": section,
            "code": code,
            "versions": self.run.found.versions,
            "inputs": [[i, self.stages[i].identity] for i in inputs],
        }
        identity, local = value_key(body), declared.local(self.run)
        key = identity if local is None else value_key({**body, "local": local})
        folder = (STORE / name / key).as_posix() if declared.stored else f"{self.results}/{name}"
        return Stage(name, section, code, inputs, key, identity, folder)

    def __getitem__(self, name: str) -> Stage:
        return self.stages[name]

    @property
    def results(self) -> str:
        """Folder of what belongs to this run only."""
        return f"results/{self.config.run}"

    @property
    def systems(self) -> list[str]:
        """Names in the metrics of all trained systems, e.g. ``bridge_missing``."""
        return [str(name) for name in self.run.trained]

    @property
    def scored(self) -> list[str]:
        """Names in the metrics of all models: the trained stages, or the given weights."""
        return self.run.scored

    @property
    def predictors(self) -> dict[str, Entry]:
        """Entries of all predictors that are scored, by name in the metrics."""
        return self.run.predictors

    @property
    def learned(self) -> list[str]:
        """Names in the metrics of the rivals that are trained."""
        return self.run.learned

    @property
    def calibrated(self) -> list[str]:
        """Names in the metrics of the trained systems that are calibrated."""
        return self.run.calibrated

    def model_of(self, name: str) -> str:
        """Weights of a name in the metrics."""
        return self[name].path("model.safetensors") if self.given is None else self.given.model

    def vae_of(self, name: str) -> list[str]:
        """The VAE's weights of a name in the metrics, as a list that is empty in pixel space."""
        if self.given is not None:
            return self.given.vae_files
        return [self["vae"].path("model.safetensors")] if "vae" in self.run.model_stages(name) else []

    def calibration_of(self, name: str) -> list[str]:
        """The calibration of a name in the metrics, as a list that is empty where there is none."""
        if self.given is not None:
            return self.given.files["calibration"]
        stage = f"calibration_{name}"
        return [self[stage].path("calibration.json")] if stage in self.stages else []

    def files_of(self, name: str) -> dict[str, list[str]]:
        """A predictor's weights by role, each as a list that may be empty."""
        if name in self.scored:
            calibration = self.calibration_of(name)
            return {"model": [self.model_of(name)], "vae": self.vae_of(name), "calibration": calibration}
        if self.given is not None:
            found = {"vae": self.given.vae_files}
        else:
            made = {"model": name, "vae": "vae"}.items()
            found = {r: [self[s].path("model.safetensors")] for r, s in made if s in self.stages}
        files = self.predictors[name].files
        return {r: found.get(r, []) if r in files else [] for r in ("model", "vae", "calibration")}

    def given_files(self, role: str) -> list[str]:
        """Files of the given weights' ``model``, ``vae`` or ``calibration``; empty where none are given."""
        return self.run.given(role)

    @property
    def track(self) -> str | None:
        """The Sun's track, where some draws have ``place: ephemeris``."""
        return self["ephemeris"].path("track.json") if "ephemeris" in self.stages else None

    @property
    def record_json(self) -> str:
        """`record` as canonical JSON, for a rule's params."""
        return canonical_json(self.record())

    @property
    def record_key(self) -> str:
        """What tells one record from another."""
        return value_key(self.record())

    def record(self) -> dict[str, Any]:
        """What ``stages.json`` says: every stage's key, section, code digest and inputs."""
        return {
            "schema": "stages/1",
            "run": self.config.run,
            "config": self.config.model_dump(mode="json", exclude={"runtime"}),
            **self.run.found.record(),
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
