# make demo | verify | why | prune | test | check | bench | test-slow | test-cluster | test-gpu | gpu | figures  (needs Python 3.11, git, make)
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 2
CONFIG ?= config/demo.yaml
# `make verify`: a bundle, and where to evaluate again (cpu, cuda or auto).
BUNDLE ?=
DEVICE ?= cpu
UPGRADE ?=
# `make bench-gpu`, `make gpu`: seconds that they may take.
SECONDS_GPU ?= 480
SECONDS ?= $(SECONDS_GPU)
# `make gpu`: a GPU where there is one, unless DEVICE=cpu is given.
GPU = $(if $(filter file,$(origin DEVICE)),auto,$(DEVICE))
# `make gpu-pack`: the folder of DEM windows.
WINDOWS = $(firstword $(wildcard resources/lola_40m ../shared/data/lola_40m) resources/lola_40m)
# `make prune`: 1 removes, and only what has not changed in the last DAYS.
CONFIRM ?=
DAYS ?= 1
# Local wheels, when pip knows a folder of them (uv does not read pip's configuration).
LINKS = $(shell python3 -m pip config get global.find-links 2>/dev/null || python3 -m pip config get :env:.find-links 2>/dev/null)
FIND = $(foreach folder,$(LINKS),$(if $(wildcard $(folder)),--find-links $(folder)))
# `make env TORCH=cpu` takes PyTorch's small CPU build from its own index.
TORCH ?=
BACKEND = $(if $(TORCH),--torch-backend $(TORCH))
# Every file that is installed has a sha256 in one of these; the CPU build of PyTorch has a version of its own.
CPU = $(or $(filter cpu,$(TORCH)),$(foreach folder,$(LINKS),$(wildcard $(folder)/torch-*+cpu-*.whl)))
HASHED = --require-hashes -r envs/requirements.txt -c envs/cuda.txt $(if $(CPU),-c envs/cpu.txt)

.PHONY: help env demo verify lock why prune test test-slow test-cluster test-gpu check format lint bench bench-light bench-plan bench-train bench-maps bench-bound bench-gpu gpu gpu-pack figures docs dist clean-env

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

env: $(VENV)/.ready ## set up .venv (Python 3.11)

$(VENV)/.ready: envs/requirements.txt envs/cuda.txt envs/uv.txt pyproject.toml
	@test -x $(BIN)/python || python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit("env: expected Python 3.11 or newer as python3, found " + sys.version.split()[0])'
	test -x $(BIN)/python || python3 -m venv $(VENV)
	@test "$(TORCH)" != cpu || $(BIN)/python -c 'import platform as p; found = p.system(), p.machine(), ".".join(p.python_version_tuple()[:2]); found == ("Linux", "x86_64", "3.11") or exit("env: TORCH=cpu: expected Linux, x86_64, Python 3.11, found " + ", ".join(found) + "; leave TORCH out")'
	@echo "installing packages (some minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(FIND) $(BACKEND) $(HASHED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

demo: env ## the whole pipeline on synthetic terrain; prints where the report is
	$(BIN)/snakemake --configfile $(CONFIG) --cores $(CORES) all
	@echo; echo "report:  results/$$($(BIN)/python -c "import yaml; print(yaml.safe_load(open('$(CONFIG)'))['run'])")/report.html"

verify: env ## check a reproducibility bundle, BUNDLE=path/to/bundle.zip; prints PASS and FAIL
	@test -n "$(BUNDLE)" || { echo "verify: expected BUNDLE=path/to/bundle.zip, found none" >&2; exit 2; }
	$(BIN)/python -m pipeline.bundle.verify "$(BUNDLE)" --device $(DEVICE)

lock: env ## pin all packages again (UPGRADE=--upgrade: their newest versions)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python envs/lock.py $(UPGRADE)

why: env ## what would run again under CONFIG, and why, in words
	@$(BIN)/snakemake --configfile $(CONFIG) --cores 1 --quiet progress rules host reason -- why

prune: env ## list what no run names in results/store; CONFIRM=1 removes it
	@$(BIN)/python -m pipeline.provenance.prune --days $(DAYS) $(if $(filter 1,$(CONFIRM)),--confirm)

test: env ## the tests (under 25 minutes on 2 cores)
	$(BIN)/pytest -m "not slow and not cluster" -n $(CORES) --dist loadgroup tests/e2e tests/workflow tests/unit

test-slow: env ## what takes longer: kills, full-size networks
	$(BIN)/pytest -m "slow"

test-cluster: env ## tests on a Slurm of their own (root, Debian; about half an hour)
	$(BIN)/pytest -m "cluster" tests/slurm

test-gpu: env ## tests on one GPU (about a minute)
	$(BIN)/pytest -m "gpu" tests/gpu

format: env ## format code and rules
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .
	$(BIN)/snakefmt Snakefile workflow

lint: env ## format, lint, types, import layers, workflow lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --configfile config/tiny.yaml

check: lint ## `make lint`, then unit tests of the core
	$(BIN)/pytest -m "not slow and not cluster" -n $(CORES) tests/unit/{config,storage} tests/unit/provenance/test_{plan,digest}.py tests/unit/evaluation/test_metrics.py tests/unit/training/test_order.py

bench: bench-light bench-plan bench-train ## all benchmarks

bench-light: env ## illumination engines side by side, one core
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/light.py

figures: env ## the figures of the docs, from the real windows in ../shared/data/lola_40m
	$(BIN)/python docs/figures/light.py
	$(BIN)/python benchmarks/synthetic_vs_real.py

$(VENV)/.bench: $(VENV)/.ready
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(FIND) -c envs/requirements.txt -r pyproject.toml --extra bench
	touch $@

bench-train: $(VENV)/.bench ## a full-size step beside diffusers, the loader, the sampler; memory kept as in the workflow's jobs
	MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 $(BIN)/python benchmarks/train.py

bench-gpu: $(VENV)/.bench ## full-size steps and sampling on a GPU, then a training of minutes on real terrain
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/gpu.py --seconds $(SECONDS_GPU)

gpu: $(VENV)/.bench ## within SECONDS: GPU tests, full-size steps, a training of config/moon_gpu.yaml; rehearsed on a CPU
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/gpu.py --parts tests step sample moon --precisions bf16 \
		--device $(GPU) --seconds $(SECONDS) --out results/gpu

gpu-pack: ## results/gpu.tar, for a machine with a GPU: code, weights and DEM windows; there, unpack and `make gpu`
	mkdir -p results
	git ls-files -z | tar --create --file results/gpu.tar --null --files-from -
	rm -rf results/.gpu && mkdir -p results/.gpu/resources && ln -s "$(abspath $(WINDOWS))" results/.gpu/resources/lola_40m
	tar --append --dereference --file results/gpu.tar -C results/.gpu resources/lola_40m
	rm -rf results/.gpu

bench-maps: env ## maps of image sets whose terrain is known (SETS=folders), scored
	$(BIN)/python benchmarks/challenge.py $(SETS)

bench-bound: env ## what images and altimetry of a set (SETS=folder) can say of its terrain, and what methods make of them
	$(BIN)/python benchmarks/bound.py $(SETS)

bench-plan: env ## time and memory of planning against the number of tiles
	$(BIN)/python benchmarks/planning.py

$(VENV)/.docs: $(VENV)/.ready
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(FIND) -c envs/requirements.txt -r pyproject.toml --extra docs
	touch $@

docs: $(VENV)/.docs ## the documentation as a site in site/; to look at it: python -m http.server --directory site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.dist: $(VENV)/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(FIND) -c envs/requirements.txt -r pyproject.toml --extra dist
	touch $@

dist: $(VENV)/.dist ## sdist and wheel in dist/, checked; the wheel carries the workflow and pretrained/{moon,lola40}
	rm -rf build dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 315532800) $(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

clean-env: ## remove .venv
	rm -rf $(VENV)
