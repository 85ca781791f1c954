# Two commands do all the set-up on a fresh machine with Python 3.11 or newer and pip:
#   make demo    installs into .venv, then runs the demo: example images, folds, a comparison of two networks
#   make test    installs what the tests need, then runs them
#   make docs    installs what the documentation needs, then builds it: build/docs/index.html
#   make test-fast   runs the fast tests alone: without whole trainings, processes and exports
#   make check   format, lint, types, import layers, and the files of .github and docker
#   make wheel   builds dist/*.whl and tries it in an empty environment
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
VERSIONS := .venv-versions
# Later versions of Python than the installed one are tried by resolution only.
PYTHONS := 3.11 3.12 3.13 3.14

.PHONY: demo test test-fast test-lowest test-newest coverage check lint-files format docs docs-links wheel resolve clean

demo: $(VENV)/.core
	$(BIN)/taichinet demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-fast: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --fast

# The fast tests with the lowest and with the newest versions that pyproject.toml allows, in an environment of its own.
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest: $(VENV)/.package
	$(BIN)/uv venv -q --clear --python $(PYTHON) $(VERSIONS)
	$(BIN)/uv pip install -q --python $(VERSIONS) --only-binary :all: --resolution $(RESOLUTION) -r pyproject.toml \
		--extra dev --extra pretrained
	OMP_NUM_THREADS=1 PYTHONPATH=src $(VERSIONS)/bin/python -m pytest -n auto --dist worksteal --fast

coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --cov=taichinet --cov-report=term-missing:skip-covered

check: $(VENV)/.dev lint-files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=tests:benchmarks $(BIN)/mypy tests
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks
	$(BIN)/lint-imports

# Workflows, issue forms, the citation and the Docker files.
lint-files: $(VENV)/.dev
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*[!g].yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format --force-filetype yaml CITATION.cff
	$(BIN)/zizmor --offline --quiet .github
	[ ! -x $(BIN)/hadolint ] || $(BIN)/hadolint docker/*.Dockerfile

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

# Also builds the source distribution, and the wheel from it. TAG=v1.2.3 requires this version.
wheel: $(VENV)/.package
	rm -rf dist
	$(BIN)/python -m build -q
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist
	tools/try_wheel.sh dist/*.whl $(BIN)/python
	[ -z "$(TAG)" ] || [ -f dist/taichinet-$(TAG:v%=%)-py3-none-any.whl ] || { echo "The tag is $(TAG)." >&2; exit 1; }

# Whether the dependencies and all extras can be installed together, with their lowest and their newest versions.
resolve: $(VENV)/.package
	for python in $(PYTHONS); do for versions in lowest-direct highest; do \
		echo "Python $$python, $$versions" && $(BIN)/uv pip compile -q --no-build --all-extras --python-version $$python \
			--resolution $$versions pyproject.toml > /dev/null || exit 1; \
	done; done

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

$(VENV)/.package: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[package]'
	touch $@

clean:
	rm -rf $(VENV) $(VERSIONS) build dist taichinet-demo .mypy_cache .ruff_cache .pytest_cache
