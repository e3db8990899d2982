# `make help` lists the commands. `make book` and `make test` set up all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check
PEERS := surprise lenskit fastai myfm

.DEFAULT_GOAL := help
.PHONY: help book pdf test lab reproduce sweep tune costs growth ladder-search ladder one-hot \
	tasks recommended three-ways-search three-ways execute page-data bench lint lock peer-locks \
	snapshot clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (a minute or two; later calls skip this)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed; name it with: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

book: $(READY) ## render the book from the stored notebooks into _build/html
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "Written: _build/html/index.html"

pdf: $(READY) ## print the whole book into _build/embedlens.pdf (needs Chromium or Chrome)
	$(BIN)/jupyter-book build . --builder singlehtml -W -n --keep-going --quiet
	$(BIN)/python -m embedlens.pdf

test: $(READY) ## run every test, and every chapter again (about a quarter of an hour)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lab: $(READY) ## open the chapters in JupyterLab, text twins kept in step
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/book

reproduce: $(READY) ## audit every claim over 20 seeds (a few minutes)
	$(BIN)/python -m embedlens reproduce --output book/results/verdict.json \
		--figure book/_static/verdict.png

sweep: $(READY) ## train the bias model over dropout and dimensions (about 4 minutes)
	$(BIN)/python -m embedlens.sweep --output book/results/sweep.json

tune: $(READY) ## search the tuned setting of the bias model (about 4 minutes)
	$(BIN)/python -m embedlens.tuned --output book/results/tuned.json

costs: $(READY) ## measure what a step costs, batch sizes, lazy updates (about 8 minutes)
	$(BIN)/python -m embedlens.costs --output book/results/costs.json

growth: $(READY) ## measure epochs of up to 25 million made-up ratings (about 20 minutes)
	$(BIN)/python -m embedlens.growth --output book/results/growth.json

ladder-search: $(READY) ## search the settings of chapter 11's models (about half an hour)
	$(BIN)/python -m embedlens.ladder --search book/results/ladder_search.json

ladder: $(READY) ## measure chapter 11's models on splits 0 to 4 (about ten minutes)
	$(BIN)/python -m embedlens.ladder --output book/results/ladder.json

one-hot: $(READY) ## compare embeddings with one-hot vectors (about 20 minutes)
	$(BIN)/python -m embedlens.one_hot --output book/results/one_hot.json

tasks: $(READY) ## embed the movies by three tasks and probe the vectors (about 5 minutes)
	$(BIN)/python -m embedlens.tasks --output book/results/tasks.json

recommended: $(READY) ## measure new users, new movies and top-N lists on five splits (about 5 minutes)
	$(BIN)/python -m embedlens.recommended --output book/results/recommended.json

three-ways-search: $(READY) ## search the settings of SVD and autoencoder (about 10 minutes)
	$(BIN)/python -m embedlens.spaces_search --output book/results/three_ways_search.json

three-ways: $(READY) ## compare embeddings, SVD and autoencoder over splits (about 5 minutes)
	$(BIN)/python -m embedlens.three_ways --output book/results/three_ways.json

execute: $(READY) ## run all chapters from their text twins and store the outputs
	$(BIN)/python -m embedlens.chapters execute

page-data: $(READY) ## export the trained model for the pages one can play with (a minute)
	$(BIN)/python -m embedlens.export

bench: $(READY) $(PEERS:%=.venv-peers/%/.ready) ## time training beside other libraries (about 20 minutes; 13 GB at first)
	$(BIN)/python -m embedlens.bench --splits 0 1 2 3 4 --repeats 1 --output book/results/bench.json

# A peer that cannot be installed is reported as missing, with the end of its log.
.venv-peers/%/.ready: peers/%.lock
	@echo "Setting up .venv-peers/$*"
	@rm -rf $(@D) && mkdir -p .venv-peers
	@{ $(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip --disable-pip-version-check install \
		--quiet --require-hashes -r $< && touch $@; } > .venv-peers/$*.log 2>&1 || \
		{ rm -rf $(@D); echo "failed, see .venv-peers/$*.log"; }

lint: $(READY) ## check style (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: $(READY) ## resolve pyproject.toml anew: requirements.lock and environment.yml
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet \
		--output-file requirements.lock
	@$(MAKE) --no-print-directory environment.yml

peer-locks: $(READY) ## resolve the dependency groups of pyproject.toml anew: peers/*.lock
	$(PIP) install --quiet uv
	for peer in $(PEERS); do \
		$(BIN)/uv pip compile --group pyproject.toml:$$peer --universal --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --upgrade \
			--output-file peers/$$peer.lock || exit 1; \
	done

environment.yml: requirements.lock
	@{ echo "# Made from requirements.lock by 'make lock'; do not edit."; \
	   echo "name: embedlens"; echo "channels: [conda-forge]"; echo "dependencies:"; \
	   echo "  - python >=3.11,<3.14"; echo "  - pip"; echo "  - pip:"; \
	   sed -nE 's/^([a-z0-9][^ ]*==.*) \\$$/      - "\1"/p' requirements.lock; \
	   echo "      - --editable ."; } > $@

snapshot: $(READY) ## rebuild the embedded data and verify their digests
	$(BIN)/python -m embedlens.snapshot.rebuild

clean: ## remove all that the commands made
	rm -rf _build $(VENV) .venv-peers .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
