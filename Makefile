# `make` lists the commands. Words after a command go to Hydra as they are typed: make train model=bert trainer=mps
# Works with GNU Make 3.81, which macOS ships, and 4.x.

COMMANDS := help setup doctor preflight train evaluate predict sweep benchmark report export wandb-sync wandb-sweep mine new docs test check fix lock clean
UNKNOWN := $(filter-out $(COMMANDS) ~%,$(MAKECMDGOALS))
ifneq ($(UNKNOWN),)
$(error $(shell python3 scripts/make.py refuse '$(subst ','\'',$(firstword $(UNKNOWN)))'))
endif

# Inside the conda environment of environment.yml its own Python serves; else a virtual environment is made.
ifeq ($(CONDA_DEFAULT_ENV),firstlight)
PYTHON ?= python
READY :=
else
PYTHON ?= .venv/bin/python
READY := .venv/ready
endif

# Settings reach the recipes through the environment, so that no shell reads them.
export ARGS
export DELETIONS := $(filter ~%,$(MAKECMDGOALS))
RUN = @$(PYTHON) scripts/make.py run

.PHONY: $(COMMANDS)
.DEFAULT_GOAL := help

help:
	@cat scripts/help.txt

setup: $(READY)

# It runs before setup too, and beside other commands, whose ARGS are not its own.
doctor:
	@python=$(PYTHON); $$python -c "" 2>/dev/null || python=python3; \
	$$python scripts/doctor.py $(if $(filter-out $@ ~%,$(MAKECMDGOALS)),,$$ARGS)

# These two edit the sources, and run before setup too.
mine:
	@python=$(PYTHON); $$python -c "" 2>/dev/null || python=python3; $$python scripts/make.py mine

new:
	@python=$(PYTHON); $$python -c "" 2>/dev/null || python=python3; $$python scripts/make.py new

preflight: $(READY)
	$(RUN) firstlight.preflight

train: $(READY)
	$(RUN) firstlight.train

evaluate: $(READY)
	$(RUN) firstlight.evaluate

predict: $(READY)
	$(RUN) firstlight.predict

sweep: $(READY)
	$(RUN) firstlight.sweep

benchmark: $(READY)
	$(RUN) firstlight.benchmark

report: $(READY)
	$(RUN) firstlight.report

export: $(READY)
	$(RUN) firstlight.export

wandb-sync: $(READY)
	$(RUN) firstlight.wandb_sync

wandb-sweep: $(READY)
	$(RUN) firstlight.wandb_sweep

test: $(READY)
	@$(PYTHON) -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow" $(ARGS)

check: $(READY)
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

fix: $(READY)
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

docs: $(READY)
	@$(PYTHON) -m sphinx --fail-on-warning --keep-going --quiet docs site
	@echo "docs: open site/index.html"

# Resolve the newest versions that pyproject.toml allows, for every platform; the file holds no address.
lock:
	uv pip compile -q --universal --upgrade --generate-hashes --no-header \
		--extra samples --extra hub --extra launchers --extra export --extra docs --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv dist site .pytest_cache .mypy_cache .ruff_cache

# A word such as ~callbacks.curves is a setting, not a goal.
~%:
	@:

.venv/ready: requirements.lock pyproject.toml
	@sh scripts/setup.sh
	@touch $@
