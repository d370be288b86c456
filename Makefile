# Everything starts here; `make help` lists the targets. PYTHON= chooses the interpreter.
VENV := .venv
BIN := $(VENV)/bin
BQ := .venv-bq
PYTEST_FLAGS ?= -n auto --dist loadfile --no-loadscope-reorder

# What this system can run: interpreter, lock, version, glibc.
STACK := $(shell ./stack.sh $(PYTHON))
CHOSEN := $(word 1,$(STACK))
LOCK := $(word 2,$(STACK))
INSTALLED := $(VENV)/$(LOCK)-$(word 3,$(STACK))
BQ_INSTALLED := $(BQ)/$(word 3,$(STACK))

.PHONY: help demo test test-busy test-debian13 pytest lint format bench templates lock stack clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

stack: ## Say which interpreter and which lock this system runs
	@test -n "$(LOCK)"
	@[ "$(MAKELEVEL)" != 0 ] || echo "stack: $(LOCK).txt on $(CHOSEN) ($(word 3,$(STACK)), glibc $(word 4,$(STACK)))"

# uv installs the lock in seconds where pip needs minutes; it lives in the same environment. Compiled
# once here, TensorFlow, TFDV and Beam are imported in 3 s instead of 8, by every process.
$(INSTALLED): $(LOCK).txt $(LOCK)-dev.txt pyproject.toml setup.py | stack
	$(CHOSEN) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  "$$(grep -o '^uv==[^ ]*' $(LOCK)-dev.txt)"
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BIN)/python \
	  -r $(LOCK).txt -r $(LOCK)-dev.txt || \
	  { echo 'pyfarmhash and dill are compiled: install g++ and python3-dev' >&2; exit 1; }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# The BigQuery emulator of the tests. It looks for DuckDB's extension in the home of its user, so it
# gets a home inside its environment.
$(BQ_INSTALLED): requirements-bqemulator.txt $(INSTALLED)
	$(CHOSEN) -m venv --clear --without-pip $(BQ)
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BQ)/bin/python \
	  -r requirements-bqemulator.txt
	$(BQ)/bin/python tests/support/servers/bigquery_home.py $(BQ)/home
	touch $@

demo: $(INSTALLED) ## Make three months of ads and a model, run everything, show what was found
	$(BIN)/beam-jobs demo

test: $(INSTALLED) $(BQ_INSTALLED) ## Lint, types and all tests
	$(MAKE) --jobs=2 lint pytest

test-busy: ## The same beside four busy processes a core: finds tests that depend on speed
	python3 tests/support/busy.py 4 $(MAKE) test

test-debian13: ## All tests in a Debian 13 root, with the current stack (as root, with debootstrap)
	tests/debian13.sh

pytest: $(INSTALLED) $(BQ_INSTALLED)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(INSTALLED) ## Format check, lint and types only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## Speed and memory against peers measured in the same run
	$(BIN)/python -m benchmarks

templates: $(INSTALLED) ## Write the Flex Templates' metadata from the flags
	for job in monthly requests; do $(BIN)/beam-jobs template $$job > templates/$$job.metadata.json; done

# Every version with its hashes, from pyproject.toml. uv keeps what the files have and the ranges allow;
# make lock UPGRADE=--upgrade takes the newest. The system decides the stack: 2024 has the newest
# TFDV whose wheels need no newer glibc.
COMPILE = $(BIN)/uv pip compile --quiet $(UPGRADE) --generate-hashes --custom-compile-command 'make lock'
CURRENT := --universal --python-version 3.11
EARLIER := --python-platform x86_64-manylinux_2_28 --python-version 3.11

lock: $(INSTALLED) ## Write requirements*.txt from pyproject.toml
	$(COMPILE) $(CURRENT) pyproject.toml -o requirements.txt
	$(COMPILE) $(CURRENT) --group dev -c requirements.txt -o requirements-dev.txt
	$(COMPILE) $(EARLIER) pyproject.toml -o requirements-2024.txt
	$(COMPILE) $(EARLIER) --group dev -c requirements-2024.txt -o requirements-2024-dev.txt
	$(COMPILE) $(CURRENT) --group bigquery-emulator -o requirements-bqemulator.txt

clean: ## Remove the environment and what the demo made
	rm -rf $(VENV) $(BQ) demo beam-jobs.toml build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
