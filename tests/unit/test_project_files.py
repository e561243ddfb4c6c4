"""Files about the project say what the project is: hooks, changelog, citation, migration note, policies."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "src" / "pipeline"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def recipe(target: str) -> list[str]:
    """What a target of the Makefile runs, with its variables filled in."""
    text = (ROOT / "Makefile").read_text()
    match = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.M)
    assert match, target
    lines = [line.lstrip("\t@") for line in match[1].splitlines()]
    return [line.replace("$(BIN)", ".venv/bin").replace("$(CORES)", "2") for line in lines]


def test_the_hooks_run_what_make_check_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    [repository] = config["repos"]
    hooks = repository["hooks"]
    assert repository["repo"] == "local"
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in hooks)
    # `bash -c '...'` for a line that needs a shell.
    words = [shlex.split(hook["entry"]) for hook in hooks]
    lines = [w[2] if w[:2] == ["bash", "-c"] else hook["entry"] for w, hook in zip(words, hooks)]
    assert lines == [*recipe("lint"), *recipe("check")]
    stages = [tuple(hook.get("stages", config["default_stages"])) for hook in hooks]
    assert stages == [("pre-commit",)] * len(recipe("lint")) + [("pre-push",)] * len(recipe("check"))
    assert set(config["default_install_hook_types"]) == {"pre-commit", "pre-push"}


def test_the_pack_for_a_gpu_holds_code_and_windows_with_any_tar(tmp_path: Path) -> None:
    """GNU's own options (`--transform`) are not needed; links are followed."""
    (tmp_path / "a.py").write_text("code")
    (tmp_path / "far" / "lola_40m").mkdir(parents=True)
    (tmp_path / "far" / "lola_40m" / "one.tif").write_text("heights")
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "lola_40m").symlink_to(tmp_path / "far" / "lola_40m")
    for command in ("git init -q", "git add a.py", f"make -f {ROOT / 'Makefile'} gpu-pack"):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    with tarfile.open(tmp_path / "results" / "gpu.tar") as pack:
        members = {each.name: each for each in pack.getmembers()}
    assert {"a.py", "resources/lola_40m/one.tif"} <= set(members)
    assert members["resources/lola_40m/one.tif"].isfile()
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["gpu.tar"]
    assert "--transform" not in (ROOT / "Makefile").read_text()


def test_the_small_build_of_pytorch_is_refused_where_there_is_none() -> None:
    """The check of the recipe, with another machine."""
    [line] = [line for line in recipe("\\$\\(VENV\\)/.ready") if "TORCH=cpu" in line]
    code = line.partition("-c '")[2].removesuffix("'")
    for machine, said in (("arm64", ", found Linux, arm64, 3."), ("x86_64", "")):
        fake = f"import platform; platform.system = lambda: 'Linux'; platform.machine = lambda: {machine!r}\n"
        fake += "platform.python_version_tuple = lambda: ('3', '11', '9')\n"
        done = subprocess.run([sys.executable, "-c", fake + code], capture_output=True, text=True)
        assert (done.returncode == 0) == (not said) and said in done.stderr


def test_the_changelog_has_each_kind_once_per_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", text, re.M)
    assert len(versions) == len(re.findall(r"^## ", text, re.M)) == len(set(versions))
    assert versions[0][0] in ("Unreleased", PROJECT["version"])
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for name, day in versions if name != "Unreleased")
    for section in re.split(r"^## .*\n", text, flags=re.M)[1:]:
        kinds = re.findall(r"^### (.*)$", section, re.M)
        assert kinds == [kind for kind in KINDS if kind in kinds] and kinds


def test_the_citation_is_that_of_this_version() -> None:
    cited: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
    for entry in (cited, *cited["references"]):
        assert entry["type"] and entry["title"]
        assert all("name" in a or {"family-names", "given-names"} <= set(a) for a in entry["authors"])
    links = [entry.get("doi") or entry["url"] for entry in cited["references"]]
    sources = (ROOT / "docs" / "sources.md").read_text()
    assert [link for link in links if link not in sources] == []


def test_every_package_that_a_run_needs_has_its_licence_named() -> None:
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["ephemeris"]]
    names = [re.match(r"[\w-]+", entry)[0] for entry in needed]
    told = (ROOT / "docs" / "sources.md").read_text().split("## Packages")[1]
    assert [name for name in names if f"`{name}`" not in told] == []


def defined(name: str) -> bool:
    """Whether a dotted name is a module of the library, or defined in one."""
    parts = name.split(".")[1:]
    # A folder may be what git left of one: caches.
    if any(LIBRARY.joinpath(*parts).glob("*.py")) or LIBRARY.joinpath(*parts).with_suffix(".py").is_file():
        return True
    module = LIBRARY.joinpath(*parts[:-1]).with_suffix(".py")
    if not module.is_file():
        return False
    body = ast.parse(module.read_text()).body
    return parts[-1] in {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def moves() -> list[tuple[list[str], list[str]]]:
    """Dotted names of the migration note's rows, before and after."""
    text = (ROOT / "docs" / "migration.md").read_text().split("## Python names")[1]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `pipeline.")]
    return [tuple(re.findall(r"`(pipeline\.[\w.]+)`", cell) for cell in row) for row in rows]


def test_names_of_the_migration_note_went_where_it_says() -> None:
    assert len(moves()) > 30
    for before, after in moves():
        assert [name for name in before if defined(name)] == []
        assert [name for name in after if not defined(name)] == []


@pytest.mark.parametrize("name", ["pipeline.load", "pipeline.predict.super_resolve", "pipeline.shards.open"])
def test_names_that_the_migration_note_keeps_are_there(name: str) -> None:
    module, _, function = name.rpartition(".")
    path = LIBRARY.joinpath(*module.split(".")[1:])
    body = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()).body
    assert function in {node.name for node in body if isinstance(node, ast.FunctionDef)}
    assert f"`{name}`" in (ROOT / "docs" / "migration.md").read_text()


def test_nothing_of_the_library_runs_what_it_reads() -> None:
    """SECURITY.md: no pickles, no YAML that makes objects, no evaluated text."""
    forbidden = {
        "torch.load", "pickle.load", "pickle.loads", "marshal.loads", "joblib.load", "eval", "exec",
        "yaml.load", "yaml.full_load", "yaml.unsafe_load", "os.system",
    }  # fmt: skip
    calls = 0
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                calls += 1
                name, place = ast.unparse(node.func), f"{path}:{node.lineno}"
                assert name not in forbidden, f"{place}: {name}"
                given = [k.value for k in node.keywords if k.arg in ("allow_pickle", "shell")]
                assert all(isinstance(v, ast.Constant) and v.value is False for v in given), place
    assert calls > 10_000
