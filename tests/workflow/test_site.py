"""The site of the documentation: every page is reached, links lead to pages, and `make docs` builds it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def hook(name: str) -> ModuleType:
    """A file of docs/hooks as a module."""
    spec = spec_from_file_location(f"site_{name}", ROOT / "docs" / "hooks" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = hook("site")
PAGES = sorted([*(path.name for path in (ROOT / "docs").glob("*.md")), *site.PAGES.values()])


def entries(nav: Any) -> Iterator[str]:
    """Pages of a part of the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(each)


def test_the_navigation_has_every_page_once() -> None:
    assert sorted(entries(CONFIG["nav"])) == PAGES
    assert all((ROOT / site.source(page)).is_file() for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_or_to_files_beside_them(page: str) -> None:
    text = site.linked((ROOT / site.source(page)).read_text(), page)
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", text):
        if not link.startswith(("http://", "https://")):
            there = (Path("/docs") / page).parent.joinpath(link).resolve().relative_to("/docs").as_posix()
            assert there in PAGES or (ROOT / "docs" / there).is_file(), link


@pytest.mark.parametrize(
    ("link", "page", "wanted"),
    [
        ("../config/README.md#site", "maps.md", "config.md#site"),
        ("docs/figures/region.png", "index.md", "figures/region.png"),
        ("../../docs/formats.md#models", "models/moon.md", "../formats.md#models"),
        ("../lola40/README.md", "models/moon.md", "lola40.md"),
        ("#models", "formats.md", "#models"),
        ("https://example.org/a.md", "maps.md", "https://example.org/a.md"),
    ],
)
def test_a_link_of_a_file_becomes_one_of_its_page(link: str, page: str, wanted: str) -> None:
    assert site.target(link, page) == wanted


def test_a_link_to_what_is_no_page_keeps_its_text() -> None:
    text = (
        "See [the `code`](../src/pipeline/predict.py), [maps](../README.md) and ![a map](figures/region.png)."
    )
    assert (
        site.linked(text, "maps.md") == "See the `code`, [maps](index.md) and ![a map](figures/region.png)."
    )


def test_lists_are_indented_as_python_markdown_wants() -> None:
    text = "Said:\n- one\n  goes on\n  - in\n  back\n- two\n\n1. a\n   ```\n   - code\n   ```\nEnd\n"
    wanted = (
        "Said:\n\n- one\n    goes on\n    - in\n    back\n- two\n\n1. a\n    ```\n    - code\n    ```\nEnd\n"
    )
    assert site.indented(text) == wanted


def test_code_is_left_as_it_is() -> None:
    text = "```python\nf[0](x.md)\n    - a\n- b\n  - c\n```\n"
    assert site.indented(site.linked(text, "maps.md")) == text


def test_headings_have_the_anchors_of_github() -> None:
    assert site.slug("What's *new*: `map.tif` & more", "-") == "whats-new-maptif--more"


def test_the_reference_names_what_is_there_and_described() -> None:
    names = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), flags=re.M)
    assert "pipeline.predict.super_resolve" in names and len(names) == len(set(names)) > 10
    for name in names:
        *module, own = name.split(".")
        base = ROOT.joinpath("src", *module)
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        [found] = [node for node in ast.parse(file.read_text()).body if getattr(node, "name", "") == own]
        assert isinstance(found, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(found), name


def test_nothing_of_the_site_comes_from_elsewhere() -> None:
    assert CONFIG["theme"]["font"] is False
    assert CONFIG["strict"] is True and CONFIG["validation"]["nav"]["omitted_files"] == "warn"
    assert not re.search(r"https?://", (ROOT / "mkdocs.yml").read_text())


def test_docstrings_get_the_form_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "griffe", ModuleType("griffe"))
    monkeypatch.setattr(sys.modules["griffe"], "Extension", object, raising=False)
    head, rule = "What.\n\nParameters\n----------\n", "\n\nReturns\n-------\n"
    text = head + "a : one. b, c : two,\n    more. d : three." + rule + "It.\n"
    items = "a\n    one.\nb, c\n    two,\n    more.\nd\n    three."
    assert hook("docstrings").numpy_style(text, "int") == head + items + rule + "int\n    It.\n\n"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed (`make docs`)")
def test_the_site_is_built_without_a_warning_and_needs_no_other_server(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    pages = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert pages >= {page.replace(".md", ".html") for page in PAGES}
    for name in pages:
        text = (tmp_path / name).read_text()
        assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?https?:", text), name
    assert "super_resolve" in (tmp_path / "api.html").read_text()
