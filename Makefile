# `make demo` and `make test` set up everything they need in .venv, from the tested set of versions.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check bench-packing clean

demo: $(VENV)/ready
	$(BIN)/acomp demo --output-dir demo

test: $(VENV)/ready
	$(BIN)/python -m pytest

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-packing: $(VENV)/ready
	$(BIN)/python -m tests.benchmarks.bench_packing

# torch first: its exact version brings the CPU build where a registry offers one.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dac,dev]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
