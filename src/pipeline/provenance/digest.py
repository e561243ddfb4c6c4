"""Digests of code and files, from which the key of a stage is computed."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config.base import canonical_json
from pipeline.storage.atomic import write_json
from pipeline.storage.sha256 import file_sha256

SOURCE = Path(__file__).resolve().parents[1]
TEMPLATES = (".html", ".md", ".css", ".js")  # suffixes of the files in a package's folder `templates`


@cache
def _module_file(module: str, source: Path) -> Path | None:
    """File of a module of the package at `source`, or None when the name is no module."""
    base = source.parent.joinpath(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _parsed(path: Path) -> tuple[str, frozenset[str]]:
    """Digest of a module's code without comments and docstrings, and its imports from this package.

    Imported names may be modules or attributes of modules. Entries of a `Registry` do not enter: a stage
    lists the modules of the entries that it uses, and must not run again when another entry changes.
    """
    try:
        return _parsed_text(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        error.filename = str(path)
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@cache
def _parsed_text(text: str) -> tuple[str, frozenset[str]]:
    """`_parsed` of a module's text; cached by text, so that equal files in a bundle are parsed only once."""
    tree = ast.parse(text)
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imports.add(node.module)
            imports.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError("expected absolute imports, found a relative one")
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            _drop_docstrings(node)
    tree.body = [node for node in tree.body if not _is_registry(node)]
    code = ast.dump(tree)
    ours = frozenset(name for name in imports if name.split(".")[0] == "pipeline")
    return hashlib.sha256(code.encode()).hexdigest(), ours


def _is_registry(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "Registry"


def _drop_docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Its docstring, and a class's of its attributes.

    Those of a module's constants count: to drop them would give every training another key.
    """
    if ast.get_docstring(node, clean=False) is not None:
        del node.body[0]
    if isinstance(node, ast.ClassDef):
        node.body = [statement for statement in node.body if not _is_text(statement)]
    if not node.body and not isinstance(node, ast.Module):
        node.body.append(ast.Pass())


def _is_text(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def import_closure(modules: tuple[str, ...], source: Path | None = None) -> list[str]:
    """Names of all project modules that `modules` import directly or indirectly, including themselves.

    Raises
    ------
    ValueError
        If a name is no module of this project, or a module has relative imports.
    """
    source = source or SOURCE
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        path = _module_file(name, source)
        if path is None:
            raise ValueError(f"expected a module of this project, found {name!r}")
        seen.add(name)
        # Importing a.b.c runs a/__init__ and a.b/__init__ too.
        parts = name.split(".")
        waiting.extend(".".join(parts[:i]) for i in range(1, len(parts)))
        waiting.extend(name for name in _parsed(path)[1] if _module_file(name, source))
    return sorted(seen)


@cache
def code_digest(modules: tuple[str, ...], source: Path | None = None) -> str:
    """Sha256 over the import closure of `modules`: `module_digest` of each.

    `source` is the folder of the package, this one by default; its code is parsed, never run.
    """
    source = source or SOURCE
    digest = hashlib.sha256()
    for name in import_closure(modules, source):
        digest.update(f"{name} {module_digest(name, source)}\n".encode())
    return digest.hexdigest()


def module_digest(module: str, source: Path | None = None) -> str | None:
    """Sha256 of one module's code without comments and docstrings; None when there is no such module.

    The files that a package has in a folder ``templates`` are a part of its code.
    """
    path = _module_file(module, source or SOURCE)
    if path is None:
        return None
    files = sorted(path.parent.glob("templates/*")) if path.name == "__init__.py" else []
    texts = [f"{file.name}\n{file.read_text(encoding='utf-8')}" for file in files if file.suffix in TEMPLATES]
    code = _parsed(path)[0]
    return hashlib.sha256("\0".join([code, *texts]).encode()).hexdigest() if texts else code


def value_key(value: Any) -> str:
    """First 12 hex digits of the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:12]


class DigestMemory:
    """Sha256 of files, cached on disk by path, size and modification time.

    A DEM of 3.7 GB must not be hashed each time the workflow is planned.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            found = None
        self._known: dict[str, list] = found if isinstance(found, dict) else {}
        self._changed = False
        self._names: dict[Path, list[str]] = {}

    def beside(self, path: Path) -> bool:
        """Whether other files of the folder have the stem of `path`; each folder is listed only once."""
        folder = path.parent
        if folder not in self._names:
            self._names[folder] = [each.name for each in folder.iterdir()] if folder.is_dir() else []
        start = f"{path.stem}."
        return any(name != path.name and name.startswith(start) for name in self._names[folder])

    def sha256(self, path: Path) -> str:
        """Digest of `path`, computed only when the file is new or has changed."""
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(path))
        if isinstance(known, list) and len(known) == 3 and known[:2] == stamp:
            return known[2]
        digest = file_sha256(path)
        self._known[str(path)] = [*stamp, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Write the cache to its file if it has changed."""
        if self._changed:
            write_json(self.path, self._known)
            self._changed = False
