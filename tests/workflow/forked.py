"""Run commands of Python programs one after the other, each in a fork of a process that has imported much.

Reads one JSON list from stdin, of ``{"folder": …, "words": [program, argument, …]}`` with the programs
``snakemake``, ``lunar-bridge`` and ``python``; writes one JSON list of ``[exit code, output]``. What a
command does to its process stays in its fork.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
from typing import Any

from snakemake.cli import main as snakemake

import pipeline.provenance.plan  # noqa: F401


def work(words: list[str]) -> Any:
    """What a shell would start."""
    program, *arguments = words
    if program == "snakemake":
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


def run(folder: str, words: list[str]) -> tuple[int, str]:
    """Exit code and all output of one command."""
    with tempfile.TemporaryFile("w+") as out:
        child = os.fork()
        if not child:
            code = 1
            try:
                os.chdir(folder)
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


if __name__ == "__main__":
    json.dump([run(**command) for command in json.load(sys.stdin)], sys.stdout)
