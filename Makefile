# Each goal sets everything up on a fresh machine, in its own .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEV    := $(VENV)/.ready-dev

.PHONY: demo test lint docs bench clean

demo: $(READY)            ## the main job on an embedded synthetic data set
	$(BIN)/medssm demo --home medssm-demo

test: $(DEV)              ## every test that needs no GPU
	$(BIN)/python -m pytest -m "not gpu" -n auto --dist loadgroup

lint: $(DEV)              ## style, types, import contracts, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: $(DEV)              ## the documentation as HTML, warnings are errors
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(DEV)             ## figures of this machine, refused over a red test
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist docs/_build medssm-demo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(DEV): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@ $(READY)
