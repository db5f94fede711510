# Two commands from a fresh clone: `make demo` and `make test`. Later calls reuse .venv; a changed pyproject.toml or
# constraints.txt refreshes it. TORCH_INDEX=URL chooses another build of torch (CUDA, ROCm, CPU).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO_ARGS ?=
PYTEST_ARGS ?=

.PHONY: help demo test test-slow lint docs clean
help:
	@echo "make demo       environment, then the whole job on built-in data; ends with the report's path"
	@echo "make test       environment, then the tests (under ten minutes on two cores)"
	@echo "make test-slow  the slow tests"
	@echo "make lint       ruff and mypy"
	@echo "make docs       environment, then the documentation: build/docs/index.html"
	@echo "make clean      remove .venv, demo/ and caches"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: stylescan needs Python 3.11 or newer; set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing stylescan into $(VENV) (a few minutes the first time)"
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(PIP) --editable '.[demo,dev]'
	@touch $@

demo: $(VENV)/demo.stamp
	$(BIN)/stylescan demo $(DEMO_ARGS)

test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" $(PYTEST_ARGS)

test-slow: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

$(VENV)/docs.stamp: $(VENV)/demo.stamp
	$(PIP) --editable '.[demo,docs]'
	@touch $@

# -E reads everything anew: the pages are made from the code, whose changes Sphinx does not see.
docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -E -b html docs build/docs
	@echo "build/docs/index.html"

clean:
	rm -rf $(VENV) build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
