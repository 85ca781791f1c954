# Two commands do all the set-up on a fresh machine with Python 3.11 or newer and pip:
#   make demo    installs into .venv, then runs the whole way on built-in phantoms
#   make test    installs what the tests need, then runs them
#   make docs    installs what the documentation needs, then builds it: build/docs/index.html
#   make test-fast   runs the fast tests alone, in 90 s on two cores: without whole trainings, processes and exports
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-fast coverage check format docs docs-links clean

demo: $(VENV)/.core
	$(BIN)/taichinet demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-fast: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --fast

coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --cov=taichinet --cov-report=term-missing:skip-covered

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=tests:benchmarks $(BIN)/mypy tests
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Warnings are errors: links to pages, headings and files that do not exist, names in docstrings, pages that no contents lists.
docs: $(VENV)/.docs
	rm -rf build/docs && mkdir -p build
	$(BIN)/python -m typer taichinet.cli.app utils docs --name taichinet --output build/commands.md
	$(BIN)/python -m sphinx -q -E -W --keep-going -n -c docs -d build/doctrees . build/docs
	@echo "The documentation is in build/docs/index.html."

# External links, which need the network; all others are checked by `make docs`.
docs-links: docs
	$(BIN)/python -m sphinx -q -b linkcheck -c docs -d build/doctrees . build/linkcheck

# Debian's Python comes without ensurepip: then the environment gets its pip from the outer one.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) 2>/dev/null \
	|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(VENV)/bin/python install -q pip; }

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	touch $(VENV)/.core $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[docs]'
	touch $(VENV)/.core $@

clean:
	rm -rf $(VENV) build dist taichinet-demo .mypy_cache .ruff_cache .pytest_cache
