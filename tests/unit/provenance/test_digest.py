"""Digests: what changes results changes them, what does not leaves them alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.provenance import digest
from pipeline.provenance.digest import DigestMemory, code_digest, import_closure
from pipeline.provenance.stages import DECLARATIONS, MAPS
from pipeline.storage.sha256 import file_sha256

BODY = '''
"""A module."""
import pipeline.other
from pipeline.room.inner import helper

# a comment
def double(x):
    """Twice x."""
    return 2 * x  # another


class Thing:
    """A thing."""

    size: int = 1
    """Its size."""

    def method(self):
        """Nothing."""
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small package named `pipeline` in the place of this one."""
    root = tmp_path / "pipeline"
    for name, text in {
        "__init__.py": "",
        "main.py": BODY,
        "other.py": "import numpy\nY = 1\n",
        "lonely.py": "Z = 1\n",
        "room/__init__.py": '"""A room."""\n',
        "room/inner.py": "from pipeline.other import Y\n\ndef helper():\n    import pipeline.late\n",
        "late.py": "L = 1\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(digest, "SOURCE", root)
    forget()
    yield root
    monkeypatch.undo()
    forget()


def forget() -> None:
    for function in (digest._module_file, digest._parsed, digest.code_digest):
        function.cache_clear()


def key() -> str:
    forget()
    return code_digest(("pipeline.main",))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_closure_holds_everything_that_an_import_runs(package: Path) -> None:
    assert import_closure(("pipeline.main",)) == [
        "pipeline",
        "pipeline.late",
        "pipeline.main",
        "pipeline.other",
        "pipeline.room",
        "pipeline.room.inner",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# no comment at all"),
        ("  # another", ""),
        ('"""Twice x."""', '"""Two times x, and a longer text."""'),
        ('    """Twice x."""\n', ""),
        ('"""A thing."""', "'''Some thing.'''"),
        ('    """A thing."""\n', ""),
        ('"""A module."""\n', ""),
        ('"""Its size."""', '"""How large it is."""'),
        ('    """Its size."""\n', ""),
        ('        """Nothing."""', "        pass"),
        ("return 2 * x", "return (2*x)"),
        ('"""A module."""\n', '"""A module."""\n\n\n'),
    ],
)
def test_comments_docstrings_and_layout_change_nothing(package: Path, old: str, new: str) -> None:
    before = key()
    change(package / "main.py", old, new)
    assert key() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", "2 * x", "3 * x"),
        ("main.py", "double", "twice"),
        ("main.py", "size: int = 1", "size: int = 2"),
        ("main.py", "import pipeline.other\n", ""),
        ("other.py", "Y = 1", "Y = 2"),
        ("room/inner.py", "def helper():", "def helper(x=1):"),
        ("room/__init__.py", '"""A room."""', "X = 1"),
        ("late.py", "L = 1", "L = 2"),
    ],
)
def test_code_anywhere_in_the_closure_changes_the_digest(
    package: Path, file: str, old: str, new: str
) -> None:
    before = key()
    change(package / file, old, new)
    assert key() != before


def test_the_templates_of_a_package_are_its_code(package: Path) -> None:
    folder = package / "room" / "templates"
    folder.mkdir()
    keys = [key()]
    for name, text in (("page.html", "a"), ("page.html", "b"), ("card.md", "b")):
        (folder / name).write_text(text)
        keys.append(key())
    (folder / "card.md").rename(folder / "sheet.md")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    (folder / "page.html~").write_text("a copy that an editor leaves")
    (package / "elsewhere" / "templates").mkdir(parents=True)
    (package / "elsewhere" / "__init__.py").touch()
    (package / "elsewhere" / "templates" / "page.html").write_text("a")
    assert key() == keys[-1]


def test_templates_move_their_own_stage_only(tmp_path: Path) -> None:
    copy = tmp_path / "pipeline"
    shutil.copytree(digest.SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    # One of each kind in each folder: parsing takes its time.
    templates = {(path.parent, path.suffix): path for path in copy.rglob("templates/*") if path.is_file()}
    assert {suffix for _, suffix in templates} == set(digest.TEMPLATES)
    forget()
    codes = {d.name: (d.code,) for d in (*DECLARATIONS, *MAPS)}
    before = {name: code_digest(code, copy) for name, code in codes.items()}
    assert before == {name: code_digest(code) for name, code in codes.items()}
    for template in templates.values():
        text = template.read_bytes()
        template.write_bytes(text + b"more")
        digest.code_digest.cache_clear()
        moved = [name for name, code in codes.items() if code_digest(code, copy) != before[name]]
        template.write_bytes(text)
        assert moved == [{"maps": "map"}.get(room := template.relative_to(copy).parts[0], room)], template


def test_other_modules_change_nothing(package: Path) -> None:
    before = key()
    change(package / "lonely.py", "Z = 1", "Z = 2")
    assert key() == before


@pytest.mark.parametrize(
    ("annotation", "counts"), [(": Registry", False), (": dict[str, str]", True), ("", True)]
)
def test_entries_of_a_registry_do_not_count(package: Path, annotation: str, counts: bool) -> None:
    """A stage lists the modules that it uses of one among its own."""
    (package / "other.py").write_text(f'Y = 1\nLAWS{annotation} = {{"a": "pipeline.a"}}\n')
    before = key()
    change(package / "other.py", '"pipeline.a"', '"pipeline.a", "b": "pipeline.b"')
    assert (key() != before) == counts


def test_a_string_that_is_no_docstring_counts(package: Path) -> None:
    (package / "other.py").write_text('Y = 1\nTEXT = "a"\n')
    before = key()
    change(package / "other.py", '"a"', '"b"')
    assert key() != before


def test_relative_imports_are_refused(package: Path) -> None:
    (package / "late.py").write_text("from . import other\n")
    with pytest.raises(ValueError, match=r"late\.py: expected absolute imports, found a relative one"):
        key()


def test_an_unknown_module_is_named(package: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a module of this project, found 'pipeline\.nonsense'"):
        code_digest(("pipeline.nonsense",))


def test_the_digest_of_the_real_code_is_stable() -> None:
    forget()
    first = code_digest(("pipeline.training.bridge",))
    forget()
    assert code_digest(("pipeline.training.bridge",)) == first
    closure = import_closure(("pipeline.training.bridge",))
    assert "pipeline.models.aligned" in closure
    assert not [name for name in closure if name.startswith(("pipeline.evaluation", "pipeline.region"))]


def test_stages_do_not_depend_on_how_work_is_planned() -> None:
    """Else a change of the planning code would retrain every model."""
    for module in ("pipeline.training.bridge", "pipeline.illumination.trace", "pipeline.shards.write"):
        closure = import_closure((module,))
        assert "pipeline.provenance.plan" not in closure
        assert "pipeline.config.root" not in closure


# --- files ----------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths that were really hashed."""
    hashed: list[Path] = []

    def counting(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(digest, "file_sha256", counting)
    return hashed


def test_a_file_is_hashed_once_and_remembered(tmp_path: Path, counted: list[Path]) -> None:
    path = tmp_path / "dem.tif"
    path.write_bytes(b"heights")
    wanted = hashlib.sha256(b"heights").hexdigest()
    memory = DigestMemory(tmp_path / "memory.json")
    assert memory.sha256(path) == wanted == memory.sha256(path)
    memory.save()
    assert DigestMemory(tmp_path / "memory.json").sha256(path) == wanted
    assert counted == [path]


@pytest.mark.parametrize("how", ["content", "time", "size"])
def test_a_file_that_changed_is_hashed_again(tmp_path: Path, counted: list[Path], how: str) -> None:
    path = tmp_path / "dem.tif"
    path.write_bytes(b"heights")
    memory = DigestMemory(tmp_path / "memory.json")
    memory.sha256(path)
    stat = path.stat()
    path.write_bytes({"content": b"HEIGHTS", "time": b"heights", "size": b"heights!"}[how])
    later = stat.st_mtime_ns + (0 if how == "size" else 1)
    os.utime(path, ns=(stat.st_atime_ns, later))
    assert memory.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(counted) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 3}', '{"x": {}}'])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, content: str, counted: list[Path]) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"heights")
    content = content.replace('"x"', f'"{path}"')
    (tmp_path / "memory.json").write_text(content)
    memory = DigestMemory(tmp_path / "memory.json")
    assert memory.sha256(path) == hashlib.sha256(b"heights").hexdigest()
    memory.save()
    assert DigestMemory(tmp_path / "memory.json").sha256(path) == hashlib.sha256(b"heights").hexdigest()
    assert len(counted) == 1


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    DigestMemory(tmp_path / "memory.json").save()
    assert not (tmp_path / "memory.json").exists()


def test_parsing_is_independent_of_the_reader(tmp_path: Path) -> None:
    """Line ends and encodings marks are no code."""
    path = tmp_path / "a.py"
    path.write_text(textwrap.dedent(BODY))
    one = digest._parsed(path)
    forget()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert digest._parsed(path) == one
    forget()
