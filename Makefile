# make demo    run the whole recipe on a tiny model and show what it did
# make test    run the tests; SLOW=1 runs the slow ones and builds the documentation as well
# make check   format, lint, spelling, types, floors
# make docs    build the documentation site in site/; a warning is an error
# make canary  run the default tests against the newest release of everything, in .venv-canary, and say what it met
# make clean   remove the environment and everything that the tools left
#
# Each target makes its own environment in .venv first, once: the second time it starts at once.
# PYTHON=...      which Python makes .venv (3.11 to 3.13; found by itself otherwise)
# PIP_ARGS=...    added to every pip install, for an index of your own or a CPU build of torch. A pip configuration of
#                 the machine may hold versions back: then the canary meets only what that allows
# DEMO_ARGS=...   added to lsw-hf demo, see lsw-hf demo --help
# TEST_ARGS=...   added to pytest
# WORKERS=...     processes that run tests (the number of cores, at most 8)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check docs canary clean

VENV := .venv
CANARY := .venv-canary
BIN := $(VENV)/bin
WORKERS ?= auto
IS_PYTHON := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	if $$name -c '$(IS_PYTHON)' >/dev/null 2>&1; then echo $$name; break; fi; done)
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

help:
	@awk '/^#/ {sub(/^# ?/, ""); print; next} {exit}' Makefile

$(VENV)/.torch: constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or newer with venv and pip was found. Install one, or name it: make PYTHON=/path/to/python3"; exit 1; fi
	@test -x $(BIN)/python || { echo "==> making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "==> installing torch (the largest part)"
	@$(PIP_INSTALL) torch
	@touch $@

$(VENV)/.plot: $(VENV)/.torch setup.py
	@echo "==> installing lsw-hf with what the demo needs"
	@$(PIP_INSTALL) -e '.[plot]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch setup.py
	@echo "==> installing lsw-hf with what the tests need"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.plot

$(VENV)/.docs: $(VENV)/.torch setup.py
	@echo "==> installing what the documentation needs"
	@$(PIP_INSTALL) -e '.[docs]'
	@touch $@

demo: $(VENV)/.plot
	@echo "==> lsw-hf demo $(DEMO_ARGS)"
	@$(BIN)/lsw-hf demo $(DEMO_ARGS)

# One thread a process: the tests run side by side, and a model this small gains nothing from a second thread.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.dev
	@echo "==> tests"
	@$(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal $(TEST_ARGS)
ifeq ($(SLOW),1)
	@echo "==> slow tests"
	@$(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal -m slow $(TEST_ARGS)
	@$(MAKE) --no-print-directory docs
else
	@echo "==> done; make test SLOW=1 runs the slow tests as well"
endif

check: $(VENV)/.dev
	@echo "==> format"
	@$(BIN)/python -m ruff format --check .
	@echo "==> lint"
	@$(BIN)/python -m ruff check .
	@echo "==> spelling"
	@$(BIN)/codespell .
	@echo "==> types"
	@$(BIN)/python -m mypy
	@echo "==> floors"
	@$(BIN)/python -m pytest -q tests/test_architecture.py

# The theme announces its successor at every build, which says nothing about these pages.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.docs
	@echo "==> pages"
	@$(BIN)/python -m mkdocs build --strict --quiet
	@echo "==> site/index.html"

# Made anew each time, without constraints.txt: yesterday's newest is not today's. What setup.py's bounds hold back is
# listed as outdated.
canary: export OMP_NUM_THREADS := 1
canary:
	@if [ -z "$(PYTHON)" ]; then echo "No Python 3.11 or newer was found. Name one: make PYTHON=/path/to/python3 canary"; exit 1; fi
	@echo "==> making $(CANARY) with the newest releases"
	@rm -rf $(CANARY) && $(PYTHON) -m venv $(CANARY)
	@$(CANARY)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade $(PIP_ARGS) -e '.[dev]'
	@echo "==> met:"
	@$(CANARY)/bin/python --version
	@$(CANARY)/bin/python -m pip list --format=freeze --disable-pip-version-check
	@echo "==> newer, but held back by a requirement of ours or of another package:"
	@$(CANARY)/bin/python -m pip list --outdated --disable-pip-version-check
	@echo "==> tests"
	@$(CANARY)/bin/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal $(TEST_ARGS)

clean:
	rm -rf $(VENV) $(CANARY) site build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
