# Every command a person types. `make help` lists them.

STACK ?= dev
BASE ?= main
CONFIG ?= tiny
OUTPUT ?= out/train
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run side by side, one process a core.
JOBS ?= auto
UV_VERSION := 0.13.9

# The generated SDKs are large: compiled once, they load in a second each; without bytecode, every run compiles them anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help preview check cost diagram pr train serve test test-slow horovod airflow lint format golden bench clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | \
	  awk -F '\t' '{printf "  make %-12s %s\n", $$1, $$2}'

preview: $(VENV)/.installed ## Preview an environment: make preview STACK=prod
	@$(BIN)/aicloud preview $(STACK)

check: $(VENV)/.installed ## Judge an environment by its rules: make check STACK=prod
	@$(BIN)/aicloud check $(STACK)

cost: $(VENV)/.installed ## What an environment costs: make cost STACK=prod
	@$(BIN)/aicloud cost $(STACK)

diagram: $(VENV)/.installed ## Draw an environment: make diagram STACK=prod
	@$(BIN)/aicloud diagram $(STACK)

pr: $(VENV)/.installed ## What a branch changes, as the comment on its pull request: make pr BASE=main
	@$(BIN)/aicloud diff $(BASE) --format markdown $(OUT)

train: $(VENV)/.installed-training ## Train a small language model on this machine: make train CONFIG=tiny OUTPUT=out/train
	@$(BIN)/python -m workloads.training --config $(CONFIG) --output $(OUTPUT) $(ARGS)

serve: $(VENV)/.installed-serving ## Serve the newest checkpoint with a real Triton, ask it, measure it: make serve OUTPUT=out/train
	@$(BIN)/python -m workloads.serving demo --checkpoint $(OUTPUT) $(ARGS)

test: $(VENV)/.installed-test lint ## Lint, check types and run the tests
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-slow: $(VENV)/.installed-test ## Run the tests that take minutes
	$(BIN)/python -m pytest -n $(JOBS) -m slow

horovod: out/horovod/.built ## Build Horovod into an environment of its own, for its test (minutes)

airflow: out/airflow/.built ## Install Airflow into an environment of its own, for its test

lint: $(VENV)/.installed-test ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-test ## Put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: $(VENV)/.installed-test ## Write the golden files anew; then read what git says has changed
	AICLOUD_WRITE_GOLDEN=1 $(BIN)/python -m pytest -n $(JOBS) -q $$(grep -rl --include='test_*.py' AICLOUD_WRITE_GOLDEN tests)

bench: $(VENV)/.installed-test ## Measure the claims on speed; prints ratios
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## Remove the environment and what was generated
	rm -rf $(VENV) plan.json out .pytest_cache .mypy_cache .ruff_cache .hypothesis

# uv installs in seconds what pip takes minutes for. It does not read pip's configuration, so local wheels that pip knows
# are handed to it.
UV = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
  $$($(BIN)/pip config get global.find-links 2>/dev/null | tr ' ' '\n' | sed '/^$$/d; s/^/--find-links /' | tr '\n' ' ') \
  $${PIP_FIND_LINKS:+--find-links $$PIP_FIND_LINKS}

out/horovod/.built: workloads/training/build_horovod.sh constraints.txt | $(VENV)/bin/uv
	@$(PYTHON) -m venv out/horovod
	@$(subst --python $(BIN)/python,--python out/horovod/bin/python,$(UV)) --editable '.[training]'
	@sh workloads/training/build_horovod.sh out/horovod
	@touch $@

# Its own pins, not ours: the two do not resolve together.
out/airflow/.built: workloads/pipelines/airflow-requirements.txt | $(VENV)/bin/uv
	@$(PYTHON) -m venv out/airflow
	@$(subst --constraint constraints.txt,,$(subst --python $(BIN)/python,--python out/airflow/bin/python,$(UV))) --requirement $<
	@touch $@

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "Installing into $(VENV) (once)"
	@$(UV) --editable .
	@touch $@

$(VENV)/.installed-training: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "Installing what training needs into $(VENV) (once)"
	@$(UV) --editable '.[training]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-serving: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "Installing what serving needs into $(VENV) (once)"
	@$(UV) --editable '.[serving,training]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-training

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "Installing the tests' dependencies into $(VENV) (once)"
	@$(UV) --editable '.[test]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-training $(VENV)/.installed-serving
