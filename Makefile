# make demo, make test: a bare Python (3.11 or newer) and make are enough; everything is set up in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

CHECKED := --jaxtyping-packages=sightline.nn,sightline.models,sightline.decoding,beartype.beartype tests/nn tests/models tests/parity

# One browser and one server for all of them; skipped where there is no Chromium, refused there by `make ci`.
BROWSER := $(BIN)/python -m pytest -n0 -m browser tests/e2e

# The library of native/ takes a C++ compiler, so only `make native` insists on it; tests of it are skipped where it is not there.
NATIVE := $(shell find native -name '*.py' -o -name '*.toml' -o -name '*.h' -o -name '*.cpp' | grep -v build/)
TRIED := $(if $(shell command -v c++),.venv/.native)

.PHONY: demo native test test-all check format docs web web-check bench wheel ci clean
.DELETE_ON_ERROR:

demo: .venv/.ready-to-run  ## translate with the built-in model, then train, score and translate: about three minutes
	@$(BIN)/sightline demo

native: .venv/.ready-to-run .venv/.native  ## the library that translates fastest on x86-64 processors; takes a C++ compiler

test: .venv/.ready-to-develop $(TRIED)  ## the tests, and some again with every shape and type of the signatures checked at each call
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest $(CHECKED)
	$(BROWSER)

test-all: .venv/.ready-to-develop $(TRIED)  ## with the slow ones
	$(BIN)/python -m pytest -m "not browser"
	$(BIN)/python -m pytest $(CHECKED)
	$(BROWSER)

check: .venv/.ready-to-develop
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/pyright && $(BIN)/lint-imports --no-logo

format: .venv/.ready-to-develop
	$(BIN)/ruff check --fix && $(BIN)/ruff format

docs: .venv/.ready-to-develop
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

web: .venv/.ready-to-develop  ## build the explorer's page from web/ into src/sightline/serve/static, and test it
	.ci/web build

web-check: .venv/.ready-to-develop  ## the same, but refuse if the page in src/sightline/serve/static is another
	.ci/web check

bench: .venv/.ready-to-develop $(TRIED)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

wheel: .venv/.ready-to-develop  ## build it, install it in a clean environment, use it from another folder
	.ci/try-wheel

ci: export SIGHTLINE_NATIVE := required
ci: export CI := true
ci: .venv/.native check web-check test docs wheel

clean:
	rm -rf .venv web/node_modules web/dist build dist site native/build native/*.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sightline needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python's venv is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

.venv/.ready-to-run: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'Installing into .venv, once; torch is large, so this may take some minutes.'
	@$(PIP) -e '.[track]'
	@touch $@

.venv/.ready-to-develop: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'Installing into .venv, once; torch is large, so this may take some minutes.'
	@$(PIP) -e '.[dev,docs,track,data]'
	@touch .venv/.ready-to-run $@

.venv/.native: $(NATIVE) constraints.txt | .venv/bin/python
	@echo 'Compiling the library of native/, once.'
	@$(PIP) --no-deps --force-reinstall ./native
	@touch $@
