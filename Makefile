# `make olla` and `make test` do all their own set-up; the rest is for those who change olla.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: olla serve test check lint format types imports unit snapshots lock wheel clean

olla: $(VENV)/.installed ## Open the workstation
	@exec $(BIN)/olla

serve: $(VENV)/.installed ## Run the server alone
	@exec $(BIN)/olla serve

test: $(VENV)/.installed-dev ## All checks and all tests
	@$(MAKE) --no-print-directory lint types imports unit

check: test

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

clean:
	rm -rf $(VENV) dist build
