PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Where a machine's own Python has PyTorch for its GPU: make gpu GPU_PYTHON=python3
GPU_PYTHON ?= $(BIN)/python

.PHONY: install demo docs test lint gpu clean

install: $(VENV)/installed

# Installing again after a change of what is to be installed, and only then.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/peers: tests/peers.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps --requirement $<
	touch $@

demo: install
	$(BIN)/marginalia demo --out $(DEMO)

# Warnings are errors; no network is needed.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

test: lint $(VENV)/peers
# One thread per process: two pools of threads on the same cores wait for each other.
# Tests of one group share what the first of them made, and so run in one process.
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not network and not gpu and not field' -n auto --dist loadgroup

# What needs a GPU, in at most eight minutes: gpu/gpu.md and gpu/gpu.json.
gpu: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),install)
	$(GPU_PYTHON) -m tests.gpu --out gpu

clean:
	rm -rf $(VENV) $(DEMO) gpu site build *.egg-info .pytest_cache .ruff_cache
