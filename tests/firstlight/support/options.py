"""The options that tests run over: the engine has tiny models of its own, a project takes those of configs/."""

from importlib.util import find_spec

import pytest

from firstlight.config import schema
from firstlight.config.options import CONFIG_DIR, load_option

# Of the groups in which a project has options of its own: those of the engine and of its tests.
MODELS = ["tiny_images", "tiny_mlp", "tiny_text"]
DATASETS = ["fake_images", "fake_text", "hub_text", "image_folder", "text_file"]
# The smallest of everything, of the kind that a model reads.
TINY_OVERRIDES = {
    "images": ["data=fake_images", "data.num_samples=16", "data.num_classes=2", "data.batch_size=4"],
    "text": ["data=fake_text", "data.num_samples=16", "data.num_classes=2", "data.batch_size=4"],
}
# 32-true on each CPU: a chip with AMX would take bf16-mixed.
QUICK_OVERRIDES = ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
QUICK_OVERRIDES += ["logger=none"]
HAS_TEXT = find_spec("transformers") is not None


def list_options(group: str) -> list[str]:
    """Return the options of a group that the engine and its tests bring, without those of texts where none are read."""
    if group in ("model", "data"):
        known = MODELS if group == "model" else DATASETS
        return [name for name in known if HAS_TEXT or get_modality(group, name) != "text"]
    return list_project_options(group)


def list_project_options(group: str) -> list[str]:
    """Return the options of a group in configs/: a user's own are among them, and deleted ones are not."""
    return sorted(file.stem for file in (CONFIG_DIR / group).glob("*.yaml"))


def has_key(model: str, setting: str) -> bool:
    """Say whether a model has a setting."""
    return setting in load_option("model", model)["model"]


def get_modality(group: str, name: str) -> str:
    """Return what a model reads or a data set yields: "images" or "text"."""
    node = load_option(group, name)
    constants = schema.read_signature(node.get(group, node)["_target_"]).constants
    return str(constants.get("modality"))


def get_tiny_model(*kinds: str) -> str:
    """Return the first tiny model that reads one of these kinds, which are any where none is named, images first."""
    for kind in kinds or TINY_OVERRIDES:
        for name in list_options("model"):
            if get_modality("model", name) == kind:
                return name
    pytest.skip("transformers is not installed: no texts are read", allow_module_level=True)


def make_tiny_overrides(model: str) -> list[str]:
    """Return the overrides for a model on the smallest data of its kind."""
    kind = get_modality("model", model)
    assert kind in TINY_OVERRIDES, (
        f"A model reads images or text, but that of model={model} reads {kind}: name it in its class"
    )
    # The standard stem is 15 times cheaper than the one for small images, which tests of its own cover.
    stem = ["model.stem=standard"] if has_key(model, "stem") else []
    return [f"model={model}", *stem, *TINY_OVERRIDES[kind], *QUICK_OVERRIDES]
