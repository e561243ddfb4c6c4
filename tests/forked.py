"""Run commands of Python programs one after the other, each in a fork of a process that has imported much.

Reads one JSON object per line from stdin, ``{"folder": …, "words": [program, argument, …], "env": {…}}``
with the programs ``snakemake``, ``lunar-bridge`` and ``python``; answers each with a line
``[exit code, output]``. What a command does to its process stays in its fork.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Forks:
    """The process that forks, for callers; started by the first command."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, folder: Path, words: Sequence[str]) -> tuple[int, str]:
        """Exit code and output of a command in `folder`, with this process's environment as it is now."""
        if self.process is None:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdin and self.process.stdout
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = {"folder": str(folder), "words": list(words), "env": env}
        print(json.dumps(command), file=self.process.stdin, flush=True)
        code, text = json.loads(self.process.stdout.readline())
        return code, text

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()


def work(words: list[str]) -> Any:
    """What a shell would start."""
    program, *arguments = sys.argv = words
    if program == "snakemake":
        from snakemake.cli import main as snakemake

        return snakemake(arguments)
    if program == "lunar-bridge":
        from pipeline.cli.main import main

        return sys.exit(main(arguments))
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        return runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    sys.argv = arguments
    sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
    return runpy.run_path(arguments[0], run_name="__main__")


def run(folder: str, words: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Exit code and all output of one command."""
    with tempfile.TemporaryFile("w+") as out:
        child = os.fork()
        if not child:
            code = 1
            try:
                os.chdir(folder)
                os.environ.clear()
                os.environ.update(env)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                for number in (1, 2):
                    os.dup2(out.fileno(), number)
                work(words)
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        return os.waitstatus_to_exitcode(status), out.read()


def serve() -> None:
    """Answer commands until stdin ends."""
    from snakemake.cli import get_argument_parser

    import pipeline.provenance.plan  # noqa: F401
    from pipeline.provenance.digest import SOURCE, module_digest

    get_argument_parser()  # imports Snakemake's plugins
    # Every plan digests the package's code, which is parsed once here.
    for path in SOURCE.rglob("*.py"):
        module_digest(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts))
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
