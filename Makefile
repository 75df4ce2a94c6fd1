# `make help` lists what there is. Needs Python 3.11 or later; everything else is set up here.

PYTHON ?= python3
TIMES ?= 50
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
PACKAGES := insn ssol ubp uprobes
PROJECTS := pyproject.toml $(PACKAGES:%=%/pyproject.toml)

# Keep the folders insn/, ubp/, … from being imported as empty namespace packages.
export PYTHONSAFEPATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/made ## what all others need: Debian packages (as root) and .venv

demo: .venv/made ## probe a real multithreaded program and show what it costs
	$(BIN)/python -m uprobes.command.demo

test: .venv/made ## every test but the torture
	$(BIN)/pytest -m "not torture" --timeout 900

check: .venv/made ## the quick tests, under two minutes
	$(BIN)/pytest -q -m "not slow and not torture"

torture: .venv/made ## the tests that take minutes
	$(BIN)/pytest -m torture

stress: .venv/made ## the tests in which things race, TIMES=50 times each
	$(BIN)/pytest -q -m "concurrent and not slow and not torture" --times $(TIMES)

lint: .venv/made ## style
	$(BIN)/ruff check

types: .venv/made ## strict types
	$(BIN)/mypy

layers: .venv/made ## no package imports one above it
	$(BIN)/lint-imports

docs: .venv/made ## docs/_build/html, warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

bench: .venv/made ## all figures, ours and the peers', in one run
	@$(BIN)/pip install -q --only-binary :all: --group peers || echo "bench: goes on without Frida"
	PYTHONPATH=$(CURDIR) $(BIN)/python -m benchmarks --plot .build/coverage.svg

alone: .venv/made ## each package in an environment with only what it declares
	$(BIN)/python .ci/alone.py

clean: ## remove what was built here
	rm -rf .venv .build docs/_build

.build/system: .ci/packages.txt .ci/prepare
	.ci/prepare
	@mkdir -p .build && touch $@

.venv/made: $(PROJECTS) .build/system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade "pip>=25.1"
	$(BIN)/pip install -q $(PACKAGES:%=-e ./%) --group dev
	$(BIN)/pip check
	@touch $@

.PHONY: help setup demo test check torture stress lint types layers docs bench alone clean
