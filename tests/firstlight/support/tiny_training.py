"""Words of the smallest training, for tests of what stands around a model."""

import sys

from firstlight import build as builder
from support.options import TINY_OVERRIDES

# 4 pictures of 2 x 2 px a batch.
OVERRIDES = ["model=tiny_mlp", *TINY_OVERRIDES["images"], "data.image_size=2"]
OVERRIDES.remove("data.num_samples=16")
OVERRIDES += ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "logger=none"]
CLASSES = ["class 0", "class 1"]
# A sweep draws nothing for its jobs.
NO_PLOTS = ["callbacks.confusion_matrix=null", "callbacks.first_batch=null", "callbacks.curves=null"]


def build_tiny(compose_cfg, *words):
    """Return model, data, trainer and configuration of a training of it."""
    cfg = compose_cfg(*OVERRIDES, *words)
    return *builder.build(cfg), cfg


def make_faulty_overrides(words, *more):
    """Return words, and before them those of the smallest training that can go wrong: 4 steps, each of them logged."""
    given = {word.partition("=")[0] for word in words}
    always = [*OVERRIDES, "model=tiny_faulty", "data.num_samples=16", "trainer.log_every_n_steps=1", *more]
    always.remove("model=tiny_mlp")
    return [*(word for word in always if word.partition("=")[0] not in given), *words]


def make_command(name, *words):
    """Return the command line of a small training or sweep, or of one that is resumed."""
    goes_on = any(word.startswith("resume=") for word in words)
    return [sys.executable, "-m", f"firstlight.{name}", *(words if goes_on else make_faulty_overrides(words))]
