# `make help` lists the commands. `make book` and `make test` set up all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check
PEERS := surprise lenskit fastai myfm cmfrec
# The newest at hand, which has the peers' newest versions: from the path, or of pyenv.
PEERS_PYTHON ?= $(shell for v in 3.13 3.12 3.11; do \
	for python in python$$v $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$v*/bin/python$$v; do \
	$$python -c '' 2> /dev/null && echo $$python && exit; done; done; echo $(PYTHON))
RESOLVE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header --quiet $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help book pdf test lab reproduce results bench execute lint lock clean

help: ## list the commands
	@grep -E '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/; s/%/NAME/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (a minute or two; later calls skip this)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed; name it with: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

book: $(READY) ## render the book from the stored notebooks into _build/html
	$(BIN)/python -m embedlens plain
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "Written: _build/html/index.html"

pdf: $(READY) ## print the whole book into _build/embedlens.pdf (needs Chromium or Chrome)
	$(BIN)/jupyter-book build . --builder singlehtml -W -n --keep-going --quiet
	$(BIN)/python -m embedlens pdf

test: $(READY) ## run every test, and every chapter again (about ten minutes)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lab: $(READY) ## open the chapters in JupyterLab: notebooks/ to run, book/ to edit
	$(BIN)/python -m embedlens plain
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

reproduce: $(READY) ## audit every claim over 40 runs (about 20 minutes)
	$(BIN)/python -m embedlens reproduce --output book/results/verdict.json \
		--figure book/_static/verdict.png

execute: $(READY) ## run all chapters from their text twins and store the outputs
	$(BIN)/python -m embedlens execute

results: $(READY) ## list the stored results: minutes to make, fresh or stale
	$(BIN)/python -m embedlens list

ifndef EMBEDLENS_ML_100K
run-canonical: .venv-peers/recbole/.ready # for the ratings of ml-100k in it
endif

run-%: $(READY) ## make one of the stored results anew
	$(BIN)/python -m embedlens run $*

bench: $(READY) $(PEERS:%=.venv-peers/%/.ready) ## tune and time other libraries beside ours (about 75 minutes; 13 GB at first)
	$(BIN)/python -m embedlens run bench

# A peer that cannot be installed is reported as missing, with the end of its log.
.venv-peers/%/.ready: peers/%.lock
	@echo "Setting up .venv-peers/$* ($(PEERS_PYTHON))"
	@rm -rf $(@D) && mkdir -p .venv-peers
	@{ $(PEERS_PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip --disable-pip-version-check install \
		--quiet --require-hashes --no-deps -r $< && touch $@; } > .venv-peers/$*.log 2>&1 || \
		{ rm -rf $(@D); echo "failed, see .venv-peers/$*.log"; }

lint: $(READY) ## check style (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: $(READY) ## resolve pyproject.toml anew: all locks (UPGRADE=--upgrade: newest versions)
	$(PIP) install --quiet uv
	$(RESOLVE) --all-extras --output-file requirements.lock pyproject.toml
	for peer in $(PEERS); do \
		$(RESOLVE) --group pyproject.toml:$$peer --output-file peers/$$peer.lock || exit 1; \
	done
	$(RESOLVE) --no-deps --group pyproject.toml:recbole --output-file peers/recbole.lock
	@$(MAKE) --no-print-directory environment.yml

environment.yml: requirements.lock
	@{ echo "# Made from requirements.lock by 'make lock'; do not edit."; \
	   echo "name: embedlens"; echo "channels: [conda-forge]"; echo "dependencies:"; \
	   echo "  - python >=3.11,<3.14"; echo "  - pip"; echo "  - pip:"; \
	   sed -nE 's/^([a-z0-9][^ ]*==.*) \\$$/      - "\1"/p' requirements.lock; \
	   echo "      - --editable ."; } > $@

clean: ## remove all that the commands made
	rm -rf _build $(VENV) .venv-peers .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
