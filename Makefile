# Run `make` to list the commands. Arguments after a command are forwarded to Hydra verbatim:
#   make train model=bert trainer=mps
# Compatible with GNU Make 3.81, which macOS ships, and 4.x.

# Overrides such as model=bert are variables of make's command line. When make exports a variable, it expands the value
# first, and a value such as $(shell ...) would run. Therefore none is exported, and ARGS is not expanded. The names of
# the loop variables contain a period, because make does not export such names. `override` below keeps
# an override from replacing a variable of this file.
override names.of = $(firstword $(subst =, ,$(subst +, ,$(subst ?, ,$(subst :, ,$(1))))))
override given.names = $(foreach a.word,$(MAKEOVERRIDES),$(call names.of,$(a.word)))
unexport $(foreach a.name,$(given.names),$(if $(findstring command,$(origin $(a.name))),$(a.name)))
override ARGS := $(value ARGS)

# scripts/help.txt lists the commands. Those above the heading "Your project" are modules of src/firstlight, which can
# be deleted.
override module = $(subst -,_,$(1))
override exists = $(if $(wildcard src/firstlight/$(call module,$(1)).py src/firstlight/$(call module,$(1))/__main__.py),$(1))
override NAMES := sed -n -e 's/^make \([a-z-]*\).*/\1/p'
override LISTED := $(sort $(shell $(NAMES) -e '/^Your project$$/q' scripts/help.txt))
override PROGRAMS := $(foreach name,$(LISTED),$(call exists,$(name)))
# The names of your own targets. Add their rules at the end of this file.
OWN :=
override COMMANDS := help $(OWN) $(filter-out $(filter-out $(PROGRAMS),$(LISTED)),$(sort $(shell $(NAMES) scripts/help.txt)))

override UNKNOWN := $(filter-out $(COMMANDS) ~%,$(MAKECMDGOALS))
ifneq ($(UNKNOWN),)
$(error $(shell python3 scripts/make.py unknown '$(subst ','\'',$(firstword $(UNKNOWN)))'))
endif

# Use the conda environment of environment.yml if it is active, otherwise create .venv.
override CONDA := $(shell sed -n 's/^name: *//p' environment.yml 2>/dev/null)
ifneq ($(and $(CONDA_DEFAULT_ENV),$(filter $(CONDA),$(CONDA_DEFAULT_ENV))),)
PYTHON ?= python
READY :=
else
PYTHON ?= .venv/bin/python
READY := .venv/ready
endif
# For commands that also run before setup: any Python from 3.9 on.
override ANY_PYTHON = python=$(PYTHON); $$python -c "" 2>/dev/null || python=python3; $$python

# Pass overrides through the environment, so that the shell does not expand them.
export ARGS
override DELETIONS := $(filter ~%,$(MAKECMDGOALS))
export DELETIONS

# In a project made with `make init`, `make test` runs the tests of the project's package only. `make test-engine` runs
# the tests of the engine.
override PACKAGE = $(filter-out firstlight,$(patsubst src/%/__init__.py,%,$(wildcard src/*/__init__.py)))
override IS_PROJECT = $(shell sed -n '/^\[tool\.firstlight\.template\]/p' pyproject.toml)
override TESTS = $(if $(IS_PROJECT),$(addprefix tests/,$(PACKAGE)),tests)
override PYTEST = @$(PYTHON) scripts/make.py pytest -n 3 --dist loadscope --no-loadscope-reorder -m "not slow and not exhaustive"

.PHONY: $(COMMANDS) belongs
.DEFAULT_GOAL := help

help:
	@$(ANY_PYTHON) scripts/make.py help

setup: $(READY)
	@$(ANY_PYTHON) scripts/make.py setup 0

# If other targets are given, ARGS and overrides belong to them: doctor does not receive them.
doctor:
	@$(if $(filter-out $@ ~%,$(MAKECMDGOALS)),unset ARGS MAKEFLAGS DELETIONS; )$(ANY_PYTHON) scripts/make.py script $@

# These commands edit the source tree.
init new update lock:
	@$(ANY_PYTHON) scripts/make.py script $@

$(PROGRAMS): $(READY)
	@$(PYTHON) scripts/make.py run firstlight.$(call module,$@)

# Check that .venv was created for this checkout.
belongs: $(READY)
	@$(PYTHON) scripts/checkout.py

test: belongs
	$(PYTEST) -o "testpaths=$(TESTS)"

test-engine: belongs
	$(PYTEST) -o testpaths=tests/firstlight

check: belongs
	@$(PYTHON) -P -m ruff check .
	@$(PYTHON) -P -m ruff format --check .
	@$(PYTHON) scripts/progress.py --output "check: types" $(PYTHON) -P -m mypy

fix: $(READY)
	@$(PYTHON) -P -m ruff check --fix .
	@$(PYTHON) -P -m ruff format .
	$(if $(IS_PROJECT),,@$(PYTHON) scripts/manifest.py)

docs: belongs
	@$(PYTHON) scripts/progress.py --output docs $(PYTHON) -P -m sphinx --fail-on-warning --keep-going --quiet docs site
	@echo "docs: open site/index.html"

clean:
	rm -rf .venv dist site .pytest_cache .mypy_cache .ruff_cache

# Hydra deletions such as ~callbacks.curves are overrides, not targets.
~%:
	@:

.venv/ready: $(wildcard requirements/*.lock) pyproject.toml
	@sh scripts/setup.sh >&2 || { code=$$?; python3 scripts/make.py setup $$code; exit 1; }
	@touch $@

# Your own targets. Name each one in OWN above. To forward the arguments of `make prune` to a module of your package:
#   prune: $(READY)
#   	@$(PYTHON) scripts/make.py run <your package>.prune
