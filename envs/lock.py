"""Pin every package with its hashes: ``make lock`` writes the files of this folder.

requirements.txt  what `make env` installs: exact versions and the sha256 of every file that may be installed
cuda.txt          constraints: what PyTorch's CUDA build asks for besides; not installed without it
cpu.txt           constraint: PyTorch's CPU build
uv.txt            the installer
environment.yaml  the same versions for conda
apptainer.def     the same files in a container

Needs uv (installed by `make env`) and the network. PyTorch's CPU build is another file with the same version,
which PyPI does not list: its sha256 is kept in CPU_TORCH.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = "3.11"
# torch-<version>+cpu-cp311-cp311-manylinux_2_28_x86_64.whl
CPU_TORCH = {"2.13.0": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"}
UV = "0.13.9"
CUDA = re.compile(r"(nvidia|cuda)-|triton$")

HEAD = f"""\
# Exact versions and sha256 of everything that `make env` installs (Python {PYTHON}). Made by `make lock`.
# torch: files of PyPI, and the CPU build.
"""
CUDA_HEAD = """\
# What PyTorch's CUDA build asks for besides requirements.txt: constraints, installed where that is.
# Made by `make lock`.
"""
CPU_HEAD = """\
# PyTorch's CPU build: a constraint where it is wanted; its version has a local part. Made by `make lock`.
"""
CONDA = """\
# conda: the interpreter and pip; all packages are those of requirements.txt. Made by `make lock`.
name: lunar-bridge
channels: [conda-forge]
dependencies:
  - python={python}
  - pip
  - pip:
{pins}
"""
APPTAINER = """\
# The pinned environment in a container; from the project's root:
#   apptainer build lunar-bridge.sif envs/apptainer.def
# Made by `make lock`.
Bootstrap: docker
From: python:{python}-slim

%files
    envs/uv.txt /opt/envs/uv.txt
    envs/requirements.txt /opt/envs/requirements.txt
    envs/cuda.txt /opt/envs/cuda.txt

%post
    # Python's slim images lack what rasterio's wheel needs.
    apt-get update && apt-get install --yes --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*
    python -m pip install --no-cache-dir --require-hashes -r /opt/envs/uv.txt
    uv pip install --system --no-cache --require-hashes -r /opt/envs/requirements.txt -c /opt/envs/cuda.txt

%environment
    export OMP_WAIT_POLICY=PASSIVE

%runscript
    exec snakemake "$@"

%test
    python -c "import embreex, rasterio, torch"

%labels
    torch {torch}
"""


def entries(text: str) -> dict[str, str]:
    """Requirement blocks (``name==version`` and their hashes) by name."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)
    return {b.partition("==")[0].partition("[")[0]: b.rstrip() for b in blocks if "==" in b}


def with_cpu_build(block: str) -> str:
    """Add the hash of the CPU build to torch's entry, in order."""
    head, *hashes = [line.removesuffix(" \\").strip() for line in block.splitlines()]
    version = head.partition("==")[2].split()[0]
    if version not in CPU_TORCH:
        raise SystemExit(f"CPU_TORCH: expected the sha256 of the CPU build of torch {version}, found none")
    hashes = sorted({*hashes, f"--hash=sha256:{CPU_TORCH[version]}"})
    return " \\\n    ".join((head, *hashes))


def resolve(wanted: str, *options: str) -> str:
    """What uv makes of requirements (text), with hashes."""
    command = ["uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    command += [f"--python-version={PYTHON}", *options, "-"]
    done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    """Resolve within pyproject.toml; what is pinned is kept, but for --upgrade."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    kept = [HERE / name for name in ("requirements.txt", "cuda.txt") if (HERE / name).is_file()]
    constraints = () if "--upgrade" in sys.argv else tuple(f"--constraint={path}" for path in kept)
    write(entries(resolve("\n".join(wanted), *constraints)))
    (HERE / "uv.txt").write_text(resolve(f"uv=={UV}"))


def write(found: dict[str, str]) -> None:
    """Write the four files."""
    found["torch"] = with_cpu_build(found["torch"])
    plain = [block for name, block in sorted(found.items()) if not CUDA.match(name)]
    cuda = [block for name, block in sorted(found.items()) if CUDA.match(name)]
    (HERE / "requirements.txt").write_text(HEAD + "\n".join(plain) + "\n")
    version = found["torch"].split()[0]
    pinned = f"{version}+cpu \\\n    --hash=sha256:{CPU_TORCH[version.partition('==')[2]]}\n"
    (HERE / "cpu.txt").write_text(CPU_HEAD + pinned)
    (HERE / "cuda.txt").write_text(CUDA_HEAD + "\n".join(cuda) + "\n")
    pins = "\n".join(f"      - {block.split()[0]}" for block in plain)
    (HERE / "environment.yaml").write_text(CONDA.format(python=PYTHON, pins=pins))
    text = APPTAINER.format(python=PYTHON, torch=version.partition("==")[2])
    (HERE / "apptainer.def").write_text(text)


if __name__ == "__main__":
    main()
