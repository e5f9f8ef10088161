# make demo: everything from photographs to verdicts.   make test: the test suite.   Both install what they need first.
PYTHON ?= python3.11
CATEGORY ?= tile
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Python keeps what it compiled, whatever the environment says: hundreds of interpreters start here,
# and without it each one that imports anomalib compiles for 20 s.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test nightly fast check docs app station bench chaos fuzz results clean release requirements audit extras deploy-check

help:
	@echo "make demo      install, then sample data, both models, export, evaluation, neighbors, latency (CATEGORY=all for three)"
	@echo "make test      install, then the test suite;  make nightly: with the tests that take longest"
	@echo "make check     lint, types and layers"
	@echo "make docs      the documentation as a site to read offline: site/index.html"
	@echo "make station   a folder that fills up with the demo's parts, judged as they come, live on the page"
	@echo "make app       the page for single pictures on what the demo made"
	@echo "make bench     latency beside anomalib's own inferencer"
	@echo "make chaos     500 injected faults: nothing acknowledged is lost;  make fuzz: 100,000 hostile files"
	@echo "make results   docs/results.md and the pictures in docs/, from what make demo CATEGORY=all made"
	@echo "make extras    the wheel in a clean environment for each extra (EXTRAS='base app' for some)"
	@echo "make release   wheel, sources, bill of materials and signed hashes in dist/ (KEY=an SSH key)"
	@echo "make audit     known faults of the packages of a station"
	@echo "make install   only the environment in $(VENV), with every extra"

install: $(STAMP)

# Python compiles what is used when it is used; pip would take a minute to compile all of torch.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lineside needs Python 3.11 or newer; type: make PYTHON=/path/to/python3.11")'
	@echo "installing into $(VENV), torch among it: some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $@

demo: install
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh $(CATEGORY)

# A file's tests stay in one process, for they share the models that it trains. In the order of
# their names the long ones do not come last.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 30

test: install
	$(PYTEST) -m "not nightly"

nightly: install
	$(PYTEST)

fast: install
	$(PYTEST) -m "not slow"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

app: install
	@test -d demo/bundles || { echo "make app: expected demo/bundles, found none; type: make demo" >&2; exit 1; }
	$(BIN)/lineside app demo/bundles/* --store demo/neighbours --samples demo/parts

station: install
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/station.sh

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

extras: install
	$(BIN)/python -m scripts.try_extras $(EXTRAS)

# Tools of the release, in an environment of their own.
TOOLS := .tools

$(TOOLS)/.installed: scripts/release-tools.txt
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --requirement $<
	touch $@

release: $(TOOLS)/.installed
	$(TOOLS)/bin/python -m scripts.release release --key "$(KEY)"

requirements: $(TOOLS)/.installed
	$(TOOLS)/bin/python -m scripts.release requirements

audit: $(TOOLS)/.installed
	$(TOOLS)/bin/python -m scripts.audit

# The rest of deploy/ is checked by the tests.
deploy-check: $(TOOLS)/.installed
	$(TOOLS)/bin/hadolint deploy/container/Containerfile
	$(TOOLS)/bin/kubernetes-validate --strict deploy/kubernetes/qdrant.yaml

clean:
	rm -rf demo site build dist *.egg-info
