# `make olla`, `make test` and `make test-clients` do all their own set-up; the rest is for those who change olla.
VENV ?= .venv
CLIENTS_VENV ?= .venv-clients
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: olla serve test test-clients check lint format types imports unit snapshots lock wheel clean

olla: $(VENV)/.installed ## Open the workstation
	@exec $(BIN)/olla

serve: $(VENV)/.installed ## Run the server alone
	@exec $(BIN)/olla serve

test: $(VENV)/.installed-dev ## All checks and all tests
	@$(MAKE) --no-print-directory lint types imports unit

check: test

# instructor has an environment of its own: it needs an older jiter than the newest openai.
test-clients: export OLLA_PYTHON = $(abspath $(BIN)/python)
test-clients: $(VENV)/.installed-dev $(CLIENTS_VENV)/.installed ## Other people's clients, unmodified
	$(CLIENTS_VENV)/bin/python -m pytest -q -n 2 --dist loadfile --ignore=tests/clients/test_instructor.py tests/clients
	$(CLIENTS_VENV)/instructor/bin/python -m pytest -q tests/clients/test_instructor.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -n 2 tests

snapshots: $(VENV)/.installed-dev ## Accept what the screens look like now
	$(BIN)/python -m pytest -q tests/tui --snapshot-update

lock: $(VENV)/.installed-dev ## Pin the newest versions that pyproject.toml allows
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q --universal --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock
	for name in clients instructor; do \
	    $(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header \
	        requirements-$$name.in -o requirements-$$name.lock || exit 1; \
	done

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m pip wheel -q --no-deps -w dist .

# Another CMAKE_ARGS than last time, for a GPU say, compiles llama.cpp anew.
ifneq ($(CMAKE_ARGS),)
ifneq ($(CMAKE_ARGS),$(shell cat $(VENV)/.cmake-args 2>/dev/null))
.PHONY: $(VENV)/.installed $(VENV)/.installed-dev
endif
endif

$(VENV)/.installed: requirements.lock pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh $(PYTHON) $(VENV) requirements.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh $(PYTHON) $(VENV) requirements-dev.lock
	@touch $@ $(VENV)/.installed

$(CLIENTS_VENV)/.installed: requirements-clients.lock requirements-instructor.lock tests/clients/js/package-lock.json scripts/setup-clients.sh
	@sh scripts/setup-clients.sh $(PYTHON) $(CLIENTS_VENV)
	@touch $@

clean:
	rm -rf $(VENV) $(CLIENTS_VENV) tests/clients/js/node_modules dist build
