"""Where the workflow, its settings and the trained weights lie: in the checkout, or in an installed wheel.

A wheel carries them as the folder ``_project`` of this package (``setup.py`` puts it there); a checkout, also
one that is installed in editable mode, has no such folder and uses its own files.
"""

from __future__ import annotations

from pathlib import Path

CARRIED = Path(__file__).resolve().parents[1] / "_project"
WEIGHTS = "pretrained"


def installed() -> bool:
    """Whether this package was installed from a wheel."""
    return CARRIED.is_dir()


def project() -> Path:
    """Folder of the Snakefile that belongs to this package."""
    return CARRIED if installed() else CARRIED.parents[2]


def shipped(path: Path | str, root: Path | str = ".") -> Path:
    """A path as it is given, or the same path in the wheel where only the wheel has it.

    Only paths that begin with ``pretrained/`` are looked up in the wheel: a user's own file comes first, and
    nothing else of a wheel replaces a user's file.

    Parameters
    ----------
    path : as a user gives it, e.g. ``pretrained/moon``.
    root : folder that relative paths are relative to.
    """
    path = Path(path)
    inside = CARRIED / path
    theirs = path.parts[:1] == (WEIGHTS,) and ".." not in path.parts and inside.exists()
    return inside if theirs and not (Path(root) / path).exists() else path
