# The commands of this repository; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test soak lint format bench lock clean

# The distribution's own Python where it will do: it is built with profile-guided optimisation, which one of pyenv's is not
# (docs/decisions/0004-measures.md has what that is worth). One with headers goes before: the fold is compiled against them.
PYTHON ?= $(shell for needed in Python.h /; do for python in /usr/bin/python3 python3; do $$python -c \
	'import ensurepip, os, sys, sysconfig; sys.exit(sys.version_info < (3, 11) or not os.path.exists(os.path.join(sysconfig.get_path("include"), sys.argv[1])))' \
	$$needed 2>/dev/null && echo $$python && exit; done; done; echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
UV_VERSION := 0.13.9

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# Bytecode is made at set-up: where Python may not write it later, every start would compile everything anew.
# uv first: it installs the locked environment in a third of pip's time (docs/decisions/0002-libraries.md)
$(UV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# The fold is compiled by this: again whenever it has changed.
$(VENV)/.setup: $(UV) requirements/run.txt pyproject.toml hatch_build.py $(wildcard calls/*.py) projections/runs.py adapters/store/columns.py
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/run.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import calls; calls.is_compiled() or print("The fold is not compiled and takes twice the time: is there a C compiler, are Python headers?")'
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.setup ## build .venv from the lock

setup-dev: $(VENV)/.setup-dev ## the same with the tools of test, lint and bench

run: setup ## start the service with the sample directory on http://127.0.0.1:8000
	@$(BIN)/callfold serve --sample

# Tests share the cores, but for those that run a service or a browser: these have them for themselves.
test: setup-dev ## the whole suite against a real PostgreSQL
	$(BIN)/python -m pytest -n auto --dist worksteal --durations=10 -m "not alone"
	$(BIN)/python -m pytest --durations=20 -m alone

soak: setup-dev ## two minutes of calls and faults, once more with kill -9; CALLFOLD_SOAK_SECONDS, CALLFOLD_SOAK_SEED
	CALLFOLD_SOAK_SECONDS=$${CALLFOLD_SOAK_SECONDS:-120} $(BIN)/python -m pytest -s tests/soak

lint: setup-dev ## formatting, ruff, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-dev ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup-dev ## the benchmark suite: prints a table, writes build/bench.json
	$(BIN)/python -m tests.bench

lock: $(UV) ## resolve requirements/*.txt anew
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml requirements/build.in -o requirements/run.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --all-extras -c requirements/run.txt pyproject.toml requirements/build.in -o requirements/dev.txt

clean: ## remove what the commands made, but no data
	rm -rf $(VENV) build *.so calls/*.so projections/*.so adapters/store/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
