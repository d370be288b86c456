# Everything starts here; `make help` lists the targets.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
BQ := .venv-bq
PYTEST_FLAGS ?= -n auto --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-busy pytest lint format bench templates clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv installs the lock in seconds where pip needs minutes; it lives in the same environment. Compiled
# once here, TensorFlow, TFDV and Beam are imported in 3 s instead of 8, by every process.
$(VENV)/installed: requirements.txt requirements-dev.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# The BigQuery emulator of the tests. It looks for DuckDB's extension in the home of its user, so it
# gets a home inside its environment.
$(BQ)/installed: requirements-bqemulator.txt $(VENV)/installed
	$(PYTHON) -m venv --without-pip $(BQ)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BQ)/bin/python -r requirements-bqemulator.txt
	$(BQ)/bin/python tests/support/servers/bigquery_home.py $(BQ)/home
	touch $@

demo: $(VENV)/installed ## Make three months of ads and a model, run everything, show what was found
	$(BIN)/beam-jobs demo

test: $(VENV)/installed $(BQ)/installed ## Lint, types and all tests
	$(MAKE) --jobs=2 lint pytest

test-busy: ## The same beside four busy processes a core: finds tests that depend on speed
	python3 tests/support/busy.py 4 $(MAKE) test

pytest: $(VENV)/installed $(BQ)/installed
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/installed ## Format check, lint and types only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/installed ## Speed and memory against peers measured in the same run
	$(BIN)/python -m benchmarks

templates: $(VENV)/installed ## Write the Flex Templates' metadata from the flags
	for job in monthly requests; do $(BIN)/beam-jobs template $$job > templates/$$job.metadata.json; done

clean: ## Remove the environment and what the demo made
	rm -rf $(VENV) $(BQ) demo beam-jobs.toml build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
