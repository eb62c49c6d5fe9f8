# `make` lists the commands. Words after a command go to Hydra as they are typed: make train model=bert trainer=mps
# Works with GNU Make 3.81, which macOS ships, and 4.x.

# The list of commands is scripts/help.txt. Its first paragraph has the programs of src/firstlight, which can be deleted.
module = $(subst -,_,$(1))
exists = $(if $(wildcard src/firstlight/$(call module,$(1)).py src/firstlight/$(call module,$(1))/__main__.py),$(1))
NAMES := sed -n -e 's/^make \([a-z-]*\).*/\1/p'
LISTED := $(sort $(shell $(NAMES) -e '/^$$/q' scripts/help.txt))
PROGRAMS := $(foreach name,$(LISTED),$(call exists,$(name)))
# The names of your own targets; their rules stand at the end of this file.
OWN :=
COMMANDS := help $(OWN) $(filter-out $(filter-out $(PROGRAMS),$(LISTED)),$(sort $(shell $(NAMES) scripts/help.txt)))

UNKNOWN := $(filter-out $(COMMANDS) ~%,$(MAKECMDGOALS))
ifneq ($(UNKNOWN),)
$(error $(shell python3 scripts/make.py refuse '$(subst ','\'',$(firstword $(UNKNOWN)))'))
endif

# Inside the conda environment of environment.yml its own Python serves; else a virtual environment is made.
CONDA := $(shell sed -n 's/^name: *//p' environment.yml 2>/dev/null)
ifneq ($(and $(CONDA_DEFAULT_ENV),$(filter $(CONDA),$(CONDA_DEFAULT_ENV))),)
PYTHON ?= python
READY :=
else
PYTHON ?= .venv/bin/python
READY := .venv/ready
endif
# For what runs before setup too: any Python from 3.9 on.
ANY_PYTHON = python=$(PYTHON); $$python -c "" 2>/dev/null || python=python3; $$python

# Settings reach the recipes through the environment, so that no shell reads them.
export ARGS
export DELETIONS := $(filter ~%,$(MAKECMDGOALS))

# In a project made by `make init`, `make test` runs the tests of its own package, and `make test-engine` the others.
PACKAGE = $(filter-out firstlight,$(patsubst src/%/__init__.py,%,$(wildcard src/*/__init__.py)))
IS_PROJECT = $(shell sed -n '/^\[tool\.firstlight\.template\]/p' pyproject.toml)
TESTS = $(if $(IS_PROJECT),$(addprefix tests/,$(PACKAGE)),tests)
PYTEST = @$(PYTHON) -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow"

.PHONY: $(COMMANDS)
.DEFAULT_GOAL := help

help:
	@$(ANY_PYTHON) scripts/make.py help

setup: $(READY)

# It runs beside other commands too, whose ARGS are not its own.
doctor:
	@$(ANY_PYTHON) scripts/doctor.py $(if $(filter-out $@ ~%,$(MAKECMDGOALS)),,$$ARGS)

# These edit the sources.
init new update lock:
	@$(ANY_PYTHON) scripts/make.py script $@

$(PROGRAMS): $(READY)
	@$(PYTHON) scripts/make.py run firstlight.$(call module,$@)

test: $(READY)
	$(PYTEST) -o "testpaths=$(TESTS)" $(ARGS)

test-engine: $(READY)
	$(PYTEST) -o testpaths=tests/firstlight $(ARGS)

check: $(READY)
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

fix: $(READY)
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .
	$(if $(IS_PROJECT),,@$(PYTHON) scripts/manifest.py)

docs: $(READY)
	@$(PYTHON) -m sphinx --fail-on-warning --keep-going --quiet docs site
	@echo "docs: open site/index.html"

clean:
	rm -rf .venv dist site .pytest_cache .mypy_cache .ruff_cache

# A word such as ~callbacks.curves is a setting, not a goal.
~%:
	@:

.venv/ready: $(wildcard requirements/*.lock) pyproject.toml
	@sh scripts/setup.sh
	@touch $@

# Your own targets, each named in OWN above. A program of your package gets the words after `make <name>` like this:
#   prune: $(READY)
#   	@$(PYTHON) scripts/make.py run <your package>.prune
