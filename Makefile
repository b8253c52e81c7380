# The verbs of daily work; .ci/run calls the same ones. `make` alone lists them.
VENV ?= .venv
BIN := $(VENV)/bin
TOOLS := $(VENV)/.tools
PIP := $(BIN)/python -m pip install -q

.DEFAULT_GOAL := help
.PHONY: help build lint format types layers generated ctest test test-all-pythons cpython bench docs check clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Everything that pyproject.toml names for building, testing and checking, plus cmake and ninja so
# that `make build` can go without an isolated environment and compile only what changed.
$(TOOLS): pyproject.toml bootstrap
	VENV=$(VENV) sh bootstrap --env
	$(BIN)/python -c 'import tomllib; t = tomllib.load(open("pyproject.toml", "rb")); \
	  x = t["project"]["optional-dependencies"]; \
	  print(*t["build-system"]["requires"], *x["test"], *x["apps"], *x["dev"], *x["docs"], *x["bench"], "cmake", "ninja", sep="\n")' > $@.txt
	$(PIP) -r $@.txt
	@touch $@

build: $(TOOLS)  ## compile and install into .venv; warnings in our C are errors
	$(PIP) --no-build-isolation --no-deps --force-reinstall \
	  --config-settings=build-dir='build/{wheel_tag}' \
	  --config-settings=cmake.define.WSDIRECT_WERROR=ON .

lint: $(TOOLS)  ## style of Python and Cython
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(abspath $(BIN)):$$PATH" cython-lint $$(find src -name '*.pyx' -o -name '*.px[di]')

format: $(TOOLS)  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(TOOLS)  ## mypy --strict over the package
	$(BIN)/mypy --strict src/wsdirect

# PYTHONPATH: the sources are judged, not the copy that was installed last.
layers: $(TOOLS)  ## imports point down only
	PYTHONPATH=src $(BIN)/lint-imports

generated: $(TOOLS)  ## generated files are what the generator writes today
	$(BIN)/python tools_dev/generate_spi.py --check
	PYTHONPATH=src $(BIN)/python tools_dev/draw_states.py --check
	PYTHONPATH=src $(BIN)/python tools_dev/quote_bench.py --check

ctest: $(TOOLS)  ## the C core's own tests: plain, thread sanitizer, address+undefined sanitizers
	$(BIN)/python tools_dev/ctest.py

test: build  ## pytest over the installed package; ARGS="-k name" narrows it
	$(BIN)/pytest $(ARGS)

test-all-pythons:  ## build and run the quick tests on the other interpreters found here
	sh tools_dev/all_pythons.sh

cpython: build  ## CPython's own tests under `wsdirect run` against without; ARGS="--group select"
	$(BIN)/python tools_dev/cpython_tests.py $(ARGS)

# The kept run, of which the documentation and the README show figures. Best on a quiet machine.
bench: build  ## the full benchmark: keeps its result and charts in bench/; a quarter of an hour
	mkdir -p build/charts bench
	$(BIN)/wsdirect bench --json bench/latest.json --plot build/charts
	cp build/charts/*.svg bench/
	$(BIN)/python tools_dev/quote_bench.py

docs: $(TOOLS)  ## the documentation, in docs/_build; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build

check: lint types layers generated ctest test  ## all of the above but the other interpreters

clean:  ## forget builds and caches, keep .venv
	rm -rf build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
