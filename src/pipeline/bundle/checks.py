"""Checks of a bundle that compute no scores: config, records, code, plan, packages, metadata, documents."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pipeline.bundle.crate import CRATE, crate
from pipeline.bundle.documents import datasheet, model_card, readme
from pipeline.bundle.write import input_files, models_in
from pipeline.config.root import Config, load_config
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation.per_patch import Columns, read_csv
from pipeline.jobs.job import record_of
from pipeline.provenance.digest import SOURCE, module_digest
from pipeline.provenance.found import versions
from pipeline.provenance.plan import Plan
from pipeline.provenance.why import differences
from pipeline.storage.atomic import read_json


@dataclass(frozen=True)
class Row:
    """One finding: status (``NOTE`` for what a reader should know), name of the check, text."""

    status: Literal["PASS", "FAIL", "NOTE"]
    check: str
    detail: str


def verdict(check: str, problems: Iterable[str], passed: str) -> Iterator[Row]:
    """Rows of a check: one FAIL per problem, or one PASS."""
    found = [Row("FAIL", check, line) for line in problems]
    yield from found or [Row("PASS", check, passed)]


@dataclass(frozen=True)
class Bundle:
    """An unpacked bundle. `names` are its members."""

    folder: Path
    names: tuple[str, ...]

    def path(self, name: str) -> Path:
        """A member's file.

        Raises
        ------
        ValueError
            If there is no such member.
        """
        if name not in self.names:
            raise ValueError(f"{name}: expected such a member, found none")
        return self.folder / name

    def read(self, name: str, schema: str | None = None) -> Any:
        """A JSON member; its schema is checked if one is given.

        Raises
        ------
        ValueError
            If there is no such member, or it is not valid JSON of the schema.
        """
        self.path(name)
        try:
            return read_json(self.folder / name, schema)
        except ValueError as error:
            raise ValueError(str(error).replace(f"{self.folder}/", "")) from None

    @cached_property
    def stages(self) -> dict[str, Any]:
        """``stages.json``."""
        found: dict[str, Any] = self.read("stages.json", "stages/1")
        return found

    @cached_property
    def config(self) -> Config:
        """The configuration, validated."""
        return load_config(self.read("config.json"))

    @property
    def source(self) -> Path:
        """Folder of the Python package in the bundled source."""
        return self.folder / "source" / "src" / "pipeline"

    @cached_property
    def plan(self) -> Plan:
        """The workflow, planned again from the config, the recorded digests and the bundled source."""
        return Plan(self.config, self.folder, self.stages, self.source)

    @cached_property
    def patches(self) -> dict[tuple[str, str], Columns]:
        """The scores of all patches by condition and system."""
        return read_csv(self.path("evaluation/patches.csv"))

    def evaluations(self) -> list[PredictorStage]:
        """Sections of the evaluations of all predictors."""
        stages = (self.plan[f"evaluation_{name}"] for name in self.plan.predictors)
        return [PredictorStage.model_validate_json(stage.section) for stage in stages]

    def models(self) -> list[str]:
        """Names of the shipped models."""
        return models_in(self.names)


def check_config(bundle: Bundle) -> Iterator[Row]:
    """Check that the configuration is valid and equals that of ``stages.json``."""
    dumped = bundle.config.model_dump(mode="json", exclude={"runtime"})
    changed = differences(bundle.stages["config"], dumped)
    bad = [f"config.json is not the config of stages.json: {line}" for line in changed]
    run, named = bundle.config.run, bundle.stages["run"]
    if named != run:
        bad.append(f"run: expected {run!r}, found {named!r}")
    yield from verdict("config", bad, f"run {run}: config.json is valid and that of stages.json")


def check_records(bundle: Bundle) -> Iterator[Row]:
    """Check that every stage has its record, and that every model names the stage that made it."""
    bad = []
    for name, stage in bundle.stages["stages"].items():
        if name == "bundle":
            continue
        wanted = record_of(name, stage["key"], json.loads(stage["section"]))
        records = [f"records/{name}.json"]
        if name in bundle.models():
            records.append(f"models/{name}/run.json")
            key = bundle.read(f"models/{name}/config.json", "model/1").get("key")
            if key != stage["key"]:
                bad.append(f"models/{name}/config.json: key: expected {stage['key']}, found {key}")
        for record in records:
            bad += [f"{record}: {line}" for line in differences(wanted, bundle.read(record, "run/1"))]
    count = len(bundle.stages["stages"]) - 1
    yield from verdict("records", bad, f"{count} stages have the records that stages.json names")


def changed_code(bundle: Bundle) -> list[str]:
    """Modules whose code, without comments and docstrings, differs between this package and the bundle."""
    names = {
        ".".join(("pipeline", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        for root in (SOURCE, bundle.source)
        for path in root.rglob("*.py")
    }
    return [n for n in sorted(names) if module_digest(n, SOURCE) != module_digest(n, bundle.source)]


def check_code(bundle: Bundle) -> Iterator[Row]:
    """Note whether the verifying code equals the bundled code."""
    changed = changed_code(bundle)
    if changed:
        shown = ", ".join(changed[:6]) + (f" and {len(changed) - 6} more" if len(changed) > 6 else "")
        yield Row("NOTE", "code", f"the verifying code differs from the bundled code in {shown}")
    else:
        yield Row("PASS", "code", "the verifying code is the bundled code")


def check_plan(bundle: Bundle) -> Iterator[Row]:
    """Check that the bundled config and source give the stages and keys of ``stages.json``."""
    planned = json.loads(bundle.plan.record_json)["stages"]
    claimed = bundle.stages["stages"]
    bad = []
    for name in sorted({*planned, *claimed}):
        one, two = claimed.get(name), planned.get(name)
        if one is None or two is None:
            bad.append(f"stage {name}: {'not planned' if two is None else 'not in stages.json'}")
        elif one != two:
            what = ", ".join(part for part in two if one.get(part) != two[part])
            bad.append(
                f"stage {name}: claimed key {one.get('key')}, planned {two['key']} (differs in: {what})"
            )
    done = f"{len(planned)} stages, planned from config.json and source/, have their keys"
    yield from verdict("plan", bad, done)
    if bad and changed_code(bundle):
        own = "the verifying code may plan other stages: verify with the source in the bundle too"
        yield Row("NOTE", "plan", own)
    if bad and platform.python_version_tuple()[:2] != ("3", "11"):
        yield Row("NOTE", "plan", f"digests of code need Python 3.11, this is {platform.python_version()}")


def pins(text: str) -> dict[str, str]:
    """Name -> version of every ``name==version`` line of a requirements file."""
    found = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", text, flags=re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def check_environment(bundle: Bundle) -> Iterator[Row]:
    """Check that the results were computed with the pinned packages; note other versions here."""
    pinned = pins(bundle.path("source/envs/requirements.txt").read_text(encoding="utf-8"))
    used: Mapping[str, str] = bundle.stages["versions"]
    other = ", ".join(f"{n} {v} (pinned {pinned.get(n)})" for n, v in used.items() if pinned.get(n) != v)
    bad = [f"computed with other versions than the pinned ones: {other}"] if other else []
    done = f"{len(pinned)} packages are pinned, among them all that the results depend on"
    yield from verdict("environment", bad, done)
    here = [f"{name} {version}, in the bundle {used.get(name)}" for name, version in versions().items()
            if used.get(name) != version]  # fmt: skip
    if here:
        yield Row("NOTE", "environment", f"other versions here: {'; '.join(here)}")


def check_crate(bundle: Bundle) -> Iterator[Row]:
    """Check that the RO-Crate metadata describe the files of the bundle."""
    found = bundle.read(CRATE)
    files = {name: bundle.folder / name for name in bundle.names if name not in (CRATE, "SHA256SUMS")}
    wanted = json.loads(json.dumps(crate(bundle.stages, files)))
    if changed_code(bundle):
        claimed = {e["@id"]: e for e in found["@graph"]}
        pairs = [(claimed.get(e["@id"]), e) for e in wanted["@graph"] if "sha256" in e]
        bad = [new["@id"] for old, new in pairs if not old or old.get("sha256") != new["sha256"]]
    else:
        bad = list(differences(_by_id(found), _by_id(wanted)))
    bad = [f"{CRATE}: {line}" for line in bad]
    yield from verdict("crate", bad, f"{CRATE} describes the files of the bundle")


def _by_id(found: Any) -> dict[str, Any]:
    return {"@context": found["@context"], **{entity["@id"]: entity for entity in found["@graph"]}}


def other_inputs(stages: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    """What ``inputs.json`` says otherwise than ``stages.json``, which has no digests of unpinned downloads.

    Parameters
    ----------
    stages, inputs : content of the two files.
    """
    fetched = {entry["name"]: entry["sha256"] for entry in inputs["files"] if entry["url"]}
    wanted = input_files(stages, fetched)
    bad = [f"not listed: {entry}" for entry in wanted if entry not in inputs["files"]]
    bad += [f"not in stages.json: {entry}" for entry in inputs["files"] if entry not in wanted]
    if inputs["synthetic"] != (stages["config"]["inputs"]["dem"] == "synthetic"):
        bad.append(f"synthetic: expected what config.json says, found {json.dumps(inputs['synthetic'])}")
    return [f"inputs.json: {line}" for line in bad]


def check_documents(bundle: Bundle) -> Iterator[Row]:
    """Check that README, datasheet and model cards follow from the numbers, and inputs.json from the plan."""
    if changed_code(bundle):
        yield Row("NOTE", "documents", "not compared, since the verifying code may word them differently")
        return
    metrics = bundle.read("evaluation/metrics.json", "metrics/1")
    wanted = {"README.md": readme(bundle.stages, metrics, bundle.read("subset/manifest.json"))}
    manifests = {Path(n).stem: bundle.read(n) for n in sorted(bundle.names) if n.startswith("manifests/")}
    inputs = bundle.read("inputs.json", "inputs/1")
    wanted["datasheet.md"] = datasheet(bundle.stages, manifests, inputs)
    for name in bundle.models():
        config = bundle.read(f"models/{name}/config.json")
        weights = bundle.path(f"models/{name}/model.safetensors")
        wanted[f"models/{name}/README.md"] = model_card(name, weights, config, metrics, bundle.stages)
    other = [n for n, text in wanted.items() if bundle.path(n).read_text(encoding="utf-8") != text]
    bad = [f"{name}: does not agree with the numbers of the bundle" for name in other]
    bad += other_inputs(bundle.stages, inputs)
    yield from verdict("documents", bad, f"{len(wanted)} documents agree with metrics.json")
