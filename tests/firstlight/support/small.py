"""Words of the smallest training, for tests of what stands around a model."""

from firstlight import build as builder
from support.choices import TINY

# 4 pictures of 2 x 2 px a batch.
WORDS = ["model=tiny_mlp", *TINY["images"], "data.image_size=2"]
WORDS.remove("data.num_samples=16")
WORDS += ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "logger=none"]
CLASSES = ["class 0", "class 1"]


def build(composed, *words):
    """Return model, data, trainer and configuration of a training of it."""
    cfg = composed(*WORDS, *words)
    return *builder.build(cfg), cfg
