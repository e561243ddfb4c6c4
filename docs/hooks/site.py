"""Hook of mkdocs: pages of the site are the project's own Markdown files, as GitHub shows them.

Files outside ``docs/`` become pages, links between them lead to pages, anchors are those of GitHub. Lists are
indented as Python-Markdown wants them. A link to any other file of the project keeps its text only.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# File of the project -> page of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "config/README.md": "config.md",
    "notebooks/map.py": "notebook.md",
} | {
    f"pretrained/{path.parent.name}/README.md": f"models/{path.parent.name}.md"
    for path in sorted(ROOT.glob("pretrained/*/README.md"))
}
FILES = {page: file for file, page in PAGES.items()}
_FENCE = re.compile(r" *(```+|~~~+)")
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^)\s]+)\)")
_ITEM = re.compile(r"( *)([-*+]|\d+\.)( +)(?=\S)")


def on_config(config: MkDocsConfig) -> None:
    """Give headings the anchors that they have on GitHub."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose files lie outside ``docs/``."""
    from mkdocs.structure.files import File

    for file, page in PAGES.items():
        text = notebook(ROOT / file) if file.endswith(".py") else (ROOT / file).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Make of a file's text what Python-Markdown wants."""
    if page.file.src_uri == PAGES["README.md"]:
        page.meta["hide"] = ["navigation"]  # it has one entry
    return indented(linked(markdown, page.file.src_uri))


def slug(heading: str, separator: str) -> str:
    """Anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def source(page: str) -> str:
    """The project's file of a page, ``docs/maps.md`` of ``maps.md``."""
    return FILES.get(page, f"docs/{page}")


def target(link: str, page: str) -> str | None:
    """A link of a page's file as a link of the page; None where it leads to no part of the site."""
    path, mark, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source(page)), path))
    if file not in PAGES and not file.startswith("docs/"):
        return None
    there = PAGES.get(file, file.removeprefix("docs/"))
    return posixpath.relpath(there, posixpath.dirname(page) or ".") + mark + anchor


def linked(text: str, page: str) -> str:
    """A page's text with links that lead to pages; blocks of code are left as they are."""

    def moved(found: re.Match[str]) -> str:
        image, words, link = found.groups()
        there = target(link, page)
        return words if there is None else f"{image}[{words}]({there})"

    parts = re.split(r"(^ *```.*?^ *```$)", text, flags=re.M | re.S)
    parts[::2] = [_LINK.sub(moved, part) for part in parts[::2]]
    return "".join(parts)


def indented(text: str) -> str:
    """Lists with four spaces per level and an empty line before the first item.

    GitHub takes what stands under an item's first word as part of the item, and begins a list after any line.
    """
    out: list[str] = []
    columns: list[int] = []  # of the text of the items that are open
    fence = ""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        item = None if fence else _ITEM.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif line.strip():
            while columns and indent < columns[-1]:
                columns.pop()
            mark = _FENCE.match(line)
            fence = mark[1] if mark else ""
        if item and not columns and out and out[-1].strip() and not out[-1].startswith("    "):
            out += [""] if not _ITEM.match(out[-1]) else []
        kept = line[min(columns[-1], indent) :] if columns else line
        out.append((" " * 4 * len(columns) + kept).rstrip())
        if item:
            columns.append(len(item[0]))
    return "\n".join(out) + "\n"


def notebook(path: Path) -> str:
    """Markdown of a marimo notebook: text and code of its cells, which are not run."""
    words = [sys.executable, "-m", "marimo", "export", "md", path.name]
    done = subprocess.run(words, cwd=path.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{path}: marimo cannot export it:\n{done.stderr}")
    text = re.sub(r"\A---\n.*?\n---\n", "", done.stdout, flags=re.S)
    # marimo puts the cell of imports before the title.
    code, title, words, cells = re.fullmatch(r"(.*?)(^# .*?\n)(.*?)(^```.*)", text, re.M | re.S).groups()
    file = path.relative_to(ROOT).as_posix()
    note = f"*The cells of `{file}`, a [marimo](https://marimo.io) notebook. None was run for this page.*\n"
    text = "\n".join((title, note, words.strip(), "", code.strip(), "", cells))
    return re.sub(r"^(```+)python \{\.marimo[^}]*\}$", r"\1python", text, flags=re.M)
