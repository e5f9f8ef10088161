# make demo: everything from photographs to verdicts.   make test: the test suite.   Both install what they need first.
PYTHON ?= python3.11
CATEGORY ?= tile
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test fast check app station bench chaos fuzz results clean

help:
	@echo "make demo      install, then sample data, both models, export, evaluation, neighbours, latency (CATEGORY=all for three)"
	@echo "make test      install, then the whole test suite"
	@echo "make check     lint, types and layers"
	@echo "make station   a folder that fills up with the demo's parts, judged as they come, live on the page"
	@echo "make app       the page for single pictures on what the demo made"
	@echo "make bench     latency beside anomalib's own inferencer"
	@echo "make chaos     500 injected faults: nothing acknowledged is lost;  make fuzz: 100,000 hostile files"
	@echo "make results   docs/results.md and the pictures in docs/, from what make demo CATEGORY=all made"
	@echo "make install   only the environment in $(VENV), with every extra"

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lineside needs Python 3.11 or newer; type: make PYTHON=/path/to/python3.11")'
	@echo "installing into $(VENV), torch among it: some minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: install
	PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh $(CATEGORY)

# A file's tests stay in one process, for they share the models that it trains. In the order of
# their names the long ones do not come last.
test: install
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

fast: install
	$(BIN)/python -m pytest -m "not slow" -n auto

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

app: install
	@test -d demo/bundles || { echo "make app: expected demo/bundles, found none; type: make demo" >&2; exit 1; }
	$(BIN)/lineside app demo/bundles/* --store demo/neighbours --samples demo/parts

station: install
	PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/station.sh

chaos: install
	$(BIN)/python -m scripts.chaos

fuzz: install
	$(BIN)/python -m scripts.fuzz

bench: install
	$(BIN)/python -m benchmarks.peers

results: install
	@test -d demo/bundles || { echo "make results: expected demo/bundles, found none; type: make demo CATEGORY=all" >&2; exit 1; }
	$(BIN)/python -m scripts.results
	$(BIN)/python -m scripts.screenshot

clean:
	rm -rf demo build dist *.egg-info
