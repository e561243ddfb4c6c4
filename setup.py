"""What a wheel carries besides the library: the workflow, its settings and trained weights.

All else is said by pyproject.toml. `pipeline.config.shipped` finds these files; an editable installation uses
those of the checkout.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = (
    "Snakefile",
    "workflow/**/*",
    "config/*",
    "profiles/**/*",
    "envs/environment.yaml",
    "pretrained/moon/*",
    "pretrained/lola40/*",
)


class BuildWithProject(build_py):
    """Copies the project's files into the folder ``_project`` of the package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for file in sorted({file for pattern in CARRIED for file in ROOT.glob(pattern)}):
            if file.is_file() and "__pycache__" not in file.parts:
                target = Path(self.build_lib, "pipeline", "_project", file.relative_to(ROOT))
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithProject})
