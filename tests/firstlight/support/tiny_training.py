"""Overrides of the smallest training run, for tests of everything around the model."""

import sys

from firstlight import build as builder
from support.options import TINY_OVERRIDES

# 4 images of 2 x 2 px per batch.
OVERRIDES = ["model=tiny_mlp", *TINY_OVERRIDES["images"], "data.image_size=2"]
OVERRIDES.remove("data.num_samples=16")
OVERRIDES += ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "logger=none"]
CLASSES = ["class 0", "class 1"]
# The jobs of a sweep do not plot.
NO_PLOTS = ["callbacks.confusion_matrix=null", "callbacks.first_batch=null", "callbacks.curves=null"]


def build_tiny(compose_cfg, *overrides):
    """Return model, datamodule, trainer and config of the smallest training run."""
    cfg = compose_cfg(*OVERRIDES, *overrides)
    return *builder.build(cfg), cfg


def make_faulty_overrides(overrides, *defaults):
    """Return overrides on top of the smallest training run that can fail: 4 steps, each of them logged."""
    given = {override.partition("=")[0] for override in overrides}
    base = [*OVERRIDES, "model=tiny_faulty", "data.num_samples=16", "trainer.log_every_n_steps=1", *defaults]
    base.remove("model=tiny_mlp")
    return [*(override for override in base if override.partition("=")[0] not in given), *overrides]


def make_command(name, *overrides):
    """Return the command line of a tiny training run or sweep, or of one that is resumed."""
    is_resumed = any(override.startswith("resume=") for override in overrides)
    arguments = overrides if is_resumed else make_faulty_overrides(overrides)
    return [sys.executable, "-m", f"firstlight.{name}", *arguments]
