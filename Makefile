# Python's own venv and pip, nothing else. `make` lists what there is.
#
#   PYTHON=python3.13       the Python that the environment is made with
#   VENV=.venv-3.13         where the environment is
#   DJANGO='django==5.2.*'  another Django than the newest

PYTHON ?= python3
VENV ?= .venv
DJANGO ?=
PORT ?= 8000
GROUPS_URL ?=
ARGS ?=

# An absolute path, for the recipes that work in another directory.
RUN := "$(abspath $(VENV))/bin/python"
PIP := $(RUN) -m pip --quiet --quiet --disable-pip-version-check

TEST := $(RUN) scripts/run_tests.py
WITH_ARGS := $(if $(ARGS),-- $(ARGS))

.DEFAULT_GOAL := help
.PHONY: help run run-redis run-postgres test test-fast test-package test-example test-wheel lint format types cover bench stress attack mutants docs build clean FORCE
.NOTPARALLEL:

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.installed-run ## Serve the example project with daphne (PORT=8000)
	@$(RUN) -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || { \
	  echo "Port $(PORT) of 127.0.0.1 is taken, or not ours to take." \
	    "Choose another: make run PORT=$(if $(filter 8001,$(PORT)),8002,8001)" >&2; exit 1; }
	@cd example_project && $(RUN) manage.py migrate --verbosity 0
	@echo "The example project is at http://127.0.0.1:$(PORT)/ (Ctrl-C stops it)"
	@cd example_project && exec $(RUN) -m daphne -b 127.0.0.1 -p $(PORT) config.asgi:application

run-redis: $(VENV)/.installed-engines ## Serve it with two processes and Redis (GROUPS_URL=redis://... for one that runs)
	@exec $(RUN) scripts/serve.py redis --port $(PORT) $(if $(GROUPS_URL),--url $(GROUPS_URL))

run-postgres: $(VENV)/.installed-engines ## The same with PostgreSQL (GROUPS_URL=postgres://...)
	@exec $(RUN) scripts/serve.py postgres --port $(PORT) $(if $(GROUPS_URL),--url $(GROUPS_URL))

test: $(VENV)/.installed-test ## Run every test, with coverage (ARGS="-k echo" for a part)
	@$(TEST) $(WITH_ARGS)

test-fast: $(VENV)/.installed-test ## Run those that need no engine, server or browser: seconds
	@$(TEST) --fast $(WITH_ARGS)

test-package: $(VENV)/.installed-test ## Run the tests of the package alone
	@$(TEST) --suite package $(WITH_ARGS)

test-example: $(VENV)/.installed-test ## Run the tests of the example project alone
	@$(TEST) --suite example $(WITH_ARGS)

test-wheel: $(VENV)/.installed-build ## Build the package, and test the wheel without the source tree
	$(RUN) scripts/test_wheel.py '$(or $(DJANGO),django)'

lint: $(VENV)/.installed-lint ## Check style, formatting and types
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

format: $(VENV)/.installed-lint ## Format the code, and mend what can be mended
	$(RUN) -m ruff format
	$(RUN) -m ruff check --fix

types: $(VENV)/.installed-lint ## Check the types alone
	$(RUN) -m mypy

cover: $(VENV)/.installed-test ## Report the coverage, line by line, in htmlcov/index.html
	$(RUN) -m coverage run -m pytest $(ARGS)
	$(RUN) -m coverage html
	$(RUN) -m coverage report --fail-under=0

bench: $(VENV)/.installed-bench ## Measure, and print the figures
	$(RUN) benchmarks/micro.py $(ARGS)
	$(RUN) benchmarks/kept.py $(ARGS)

stress: $(VENV)/.installed-test ## Let servers, clients and engines come and go (ARGS="--seconds 60")
	$(RUN) -m tests.stress $(ARGS)
	$(RUN) -m tests.kept_stress $(ARGS)
	$(RUN) -m tests.processes.kept $(ARGS)

attack: $(VENV)/.installed-test ## Attack every server and engine, and print what happens (ARGS="--quick")
	$(RUN) -m tests.attacks $(ARGS)

mutants: $(VENV)/.installed-test ## Change a module bit by bit; list what no test notices (MODULE=wsconsumer/x.py)
	@$(RUN) scripts/mutants.py $(MODULE) $(WITH_ARGS)

docs: $(VENV)/.installed-test $(VENV)/.installed-docs ## Run the code in README.md and docs/
	$(RUN) -m pytest tests/test_docs.py tests/cookbook $(ARGS)

build: $(VENV)/.installed-build ## Make the sdist and the wheel in dist/
	$(RUN) -m build

clean: ## Remove what the other targets made, environments too; databases stay
	rm -rf .venv .venv-* build dist htmlcov .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf example_project/.pytest_cache example_project/.coverage
	find wsconsumer tests example_project benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A stamp for each dependency group of pyproject.toml: pip runs when that changed,
# or the version in wsconsumer/__init__.py.

$(VENV)/.installed-%: pyproject.toml Makefile wsconsumer/__init__.py $(VENV)/.made $(VENV)/.django
	@echo "Installing what '$*' needs into $(VENV) ..."
	@$(PIP) install --upgrade --editable . --group $* '$(or $(DJANGO),django)'
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "wsconsumer needs Python 3.11 or newer as '$(PYTHON)'. Name another: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' lacks the venv module. On Debian: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1' # the first that reads dependency groups
	@touch $@

# Written only when DJANGO is another than last time, so that only then is anything reinstalled.
$(VENV)/.django: $(VENV)/.made FORCE
	@echo '$(DJANGO)' | cmp -s - $@ || echo '$(DJANGO)' > $@
