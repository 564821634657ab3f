# Works on a machine with git, make and Python 3.11 or newer; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
PLATFORM := template/vendor/slipway
# Processes of the tests. They want a processor each, and 4 GiB.
WORKERS ?= 2
TESTS ?= tests/workflows tests/lifecycle tests/cluster_engines tests/docs tests/update tests/platform tests/render tests/project

.PHONY: demo test check types types-of-platform docs requirements

demo: $(BIN)/.complete
	$(BIN)/python tests/demo.py

test: $(BIN)/.complete check
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(wildcard $(TESTS))
	$(if $(filter tests/platform,$(TESTS)),SLIPWAY_PROBLEM=regression $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests/platform)

check: $(BIN)/.complete
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --quiet --check
	cd $(PLATFORM) && $(CURDIR)/$(BIN)/ruff check --quiet && $(CURDIR)/$(BIN)/ruff format --quiet --check
	$(BIN)/zizmor --offline --quiet --persona auditor .github
	$(MAKE) --no-print-directory --jobs 2 types types-of-platform

types: $(BIN)/.complete
	$(BIN)/mypy --no-error-summary

types-of-platform: $(BIN)/.complete
	cd $(PLATFORM) && $(CURDIR)/$(BIN)/mypy --no-error-summary

docs: $(BIN)/.complete
	$(BIN)/python docs/questions.py
	$(BIN)/python docs/edges.py
	$(BIN)/python docs/ownership.py
	$(BIN)/python docs/remotes.py
	$(BIN)/python docs/governance.py
	$(BIN)/python docs/sinks.py
	PYTHONPATH=$(PLATFORM)/src $(BIN)/python docs/manifest.py

requirements: $(BIN)/.complete
	$(BIN)/uv pip compile requirements.in $(PLATFORM)/pyproject.toml --quiet \
	  --extra azure --extra bucket --extra dask --extra gs --extra jwt --extra pictures --extra postgresql --extra ray --extra s3 --extra slurm --extra ssh \
	  --extra template --extra testing --extra train --extra webdav --upgrade --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --output-file requirements.txt

# The last file written: a half-made .venv is made again.
$(BIN)/.complete: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) is too old, Slipway needs 3.11 or newer"; \
	    echo " next: make PYTHON=python3.12 with the name of a newer one"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.txt >.venv/uv.txt
	$(BIN)/python -m pip install --quiet --require-hashes --requirement .venv/uv.txt
	$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python --requirement requirements.txt
	@touch $@
