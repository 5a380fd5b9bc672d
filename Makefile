# Every target sets up what it needs in .venv; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
# Two workers with one thread each keep two processors busy.
TWO_WORKERS := XSLIM_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# `quick` compiles the extension in half the time, for tests; its kernels are a little slower.
NATIVE_PROFILE ?= release
PY := $(VENV)/bin/python
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-rust test-python test-lowest coverage lint licenses format bench accuracy corpus fuzz wheel cross-wheels site clean check-cargo check-python

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | awk -F ':.*  ## ' '{printf "  make %-12s %s\n", $$1, $$2}'

check-cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.88 or newer (https://rustup.rs), then run make again" >&2; exit 1; }

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "Python 3.10 or newer is missing: install it or call make PYTHON=/path/to/python3" >&2; exit 1; }

$(VENV)/.tools: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet --group dev
	@touch $@

$(VENV)/.native: $(VENV)/.tools $(RUST_SOURCES) pyproject.toml
	PIP_QUIET=1 VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/maturin develop --profile $(NATIVE_PROFILE) --quiet
	@touch $@

# The checks come first, so that nothing is downloaded before they pass.
# An editable install compiles no bytecode; with PYTHONDONTWRITEBYTECODE every start would compile every module.
setup: check-python check-cargo $(VENV)/.native  ## build the extension and install the package into .venv
	@$(PY) -m compileall -q python/xslim

demo: setup  ## quantise the quick-start model and print float and int8 accuracy
	$(PY) examples/quickstart/run.py

test: test-rust test-python  ## all tests

test-rust: check-cargo
	cargo test --workspace --quiet

test-python: setup
	$(TWO_WORKERS) $(PY) -m pytest -n 2 --dist worksteal

# Editable like .venv, with the extension built there: its metadata is copied instead of building once more.
$(LOWEST)/.installed: pyproject.toml $(VENV)/.native
	$(PY) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct -r pyproject.toml --extra dask
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST) pytest pytest-benchmark pytest-xdist hypothesis
	cp -r $(VENV)/lib/python3.*/site-packages/xslim[-.]* $(LOWEST)/lib/python3.*/site-packages/
	sed '1s|.*|#!$(CURDIR)/$(LOWEST)/bin/python|' $(VENV)/bin/xslim > $(LOWEST)/bin/xslim
	chmod +x $(LOWEST)/bin/xslim
	@touch $@

test-lowest: setup $(LOWEST)/.installed  ## Python tests with the lowest dependencies of pyproject.toml
	$(TWO_WORKERS) $(LOWEST)/bin/python -m pytest -n 2 --dist worksteal -p no:cacheprovider

coverage: setup  ## Python tests with a coverage report (coverage.xml, terminal)
	$(PY) -m pip install --quiet --disable-pip-version-check pytest-cov
	$(PY) -m pytest -n 2 --cov=xslim --cov-report=xml --cov-report=term:skip-covered

lint: setup  ## formatting, types, layers, clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) tests/kernels/check_stubs.py
	$(PY) tools/third_party_licenses.py --check

licenses: check-cargo setup  ## write THIRD_PARTY_LICENSES again after a change of Cargo.lock
	$(PY) tools/third_party_licenses.py

format: setup  ## rewrite the sources in the project's format
	cargo fmt --all
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: setup  ## kernel and pipeline benchmarks, one table
	$(PY) benches/run.py

accuracy: setup  ## accuracy table over the models and tasks of ../shared
	$(PY) -m benches.accuracy

corpus: setup  ## every command over all models of a folder: make corpus FOLDER=models ARGS='--only *yolo*'
	$(PY) -m tools.corpus $(FOLDER) $(ARGS)

FUZZ_SECONDS ?= 60

fuzz: setup  ## mutated models, configurations and files for FUZZ_SECONDS each
	XSLIM_FUZZ_SECONDS=$(FUZZ_SECONDS) $(PY) -m pytest tests/fuzz

wheel: check-python check-cargo $(VENV)/.tools  ## build the abi3 wheel and the sdist into dist/
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/maturin build --release --out dist
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/maturin sdist --out dist
	$(PY) -m pip install --quiet --disable-pip-version-check twine
	$(PY) -m twine check --strict dist/*

CROSS := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu riscv64gc-unknown-linux-gnu

cross-wheels: check-python check-cargo $(VENV)/.tools  ## wheels for x86_64, aarch64 and riscv64 (needs rustup)
	$(PY) -m pip install --quiet --disable-pip-version-check ziglang
	rustup target add $(CROSS)
	for target in $(CROSS); do PATH=$(CURDIR)/$(VENV)/bin:$$PATH maturin build --release --zig --target $$target --out dist || exit 1; done

site: $(VENV)/.tools  ## the documentation as a site, in build/site
	$(PY) -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

clean:  ## remove everything that make built
	rm -rf $(VENV) target dist build
