"""The choices of configs/ as tests take them: a user's own are among them, and examples that were deleted are not."""

import pytest

from firstlight.config import schema
from firstlight.config.options import CONFIGS, choice

# The smallest of everything, of the kind that a model reads.
TINY = {
    "images": ["data=fake_images", "data.num_samples=16", "data.num_classes=2", "data.batch_size=4"],
    "text": ["data=fake_text", "data.num_samples=16", "data.num_classes=2", "data.batch_size=4"],
}
# 32-true on each CPU: a chip with AMX would take bf16-mixed.
QUICK = ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
QUICK += ["logger=none"]


def names(group: str) -> list[str]:
    """Return the choices of a group."""
    return sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))


def takes(model: str, setting: str) -> bool:
    """Say whether a model has a setting."""
    return setting in choice("model", model)["model"]


def kind_of(group: str, name: str) -> str:
    """Return what a model reads or a data set yields: "images" or "text"."""
    node = choice(group, name)
    constants = schema.read(node.get(group, node)["_target_"]).constants
    return str(constants.get("reads" if group == "model" else "yields"))


def a_model(*kinds: str) -> str:
    """Return the first model that reads one of these kinds, which are any where none is named, images first."""
    for kind in kinds or TINY:
        for name in names("model"):
            if kind_of("model", name) == kind:
                return name
    pytest.skip(f"no model in configs/model reads {' or '.join(kinds)}", allow_module_level=True)


def tiny(model: str) -> list[str]:
    """Return the overrides for a model on the smallest data of its kind."""
    kind = kind_of("model", model)
    assert kind in TINY, f"A model reads images or text, but that of model={model} reads {kind}: name it in its class"
    # The stock stem is 15 times cheaper than the one for small images, which tests of its own cover.
    stem = ["model.stem=stock"] if takes(model, "stem") else []
    return [f"model={model}", *stem, *TINY[kind], *QUICK]
