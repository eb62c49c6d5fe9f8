"""Options that tests run over: the tiny models of the engine, or the models of a project's configs/."""

from importlib.util import find_spec

import pytest

from firstlight.config import schema
from firstlight.config.options import CONFIG_DIR, load_option

# Options of the engine and its tests in the groups in which a project has options of its own.
MODELS = ["tiny_images", "tiny_mlp", "tiny_text"]
DATASETS = ["fake_images", "fake_text", "hub_text", "image_folder", "text_file"]
# The smallest dataset of each modality.
TINY_OVERRIDES = {
    "images": ["data=fake_images", "data.num_samples=16", "data.num_classes=2", "data.batch_size=4"],
    "text": ["data=fake_text", "data.num_samples=16", "data.num_classes=2", "data.batch_size=4"],
}
# 32-true on every CPU: the default on a CPU with AMX is bf16-mixed.
QUICK_OVERRIDES = ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
QUICK_OVERRIDES += ["logger=none"]
HAS_TEXT = find_spec("transformers") is not None


def list_options(group: str) -> list[str]:
    """Return the options of the engine and its tests in a group, without text options if transformers is missing."""
    if group in ("model", "data"):
        options = MODELS if group == "model" else DATASETS
        return [name for name in options if HAS_TEXT or get_modality(group, name) != "text"]
    return list_project_options(group)


def list_project_options(group: str) -> list[str]:
    """Return the options of a group in configs/, including options of the user."""
    names = sorted(file.stem for file in (CONFIG_DIR / group).glob("*.yaml"))
    if group not in ("model", "data"):
        return names
    if group == "model":
        return [name for name in names if is_classifier(name)]
    return [name for name in names if get_modality(group, name) in TINY_OVERRIDES]


def is_classifier(model: str) -> bool:
    """Return True if the class of a model is a classifier of images or texts."""
    constants = schema.read_signature(load_option("model", model)["model"]["_target_"]).constants
    return constants.get("modality") in TINY_OVERRIDES and constants.get("task") == "classification"


def list_other_models() -> list[str]:
    """Return the models of a project that are no classifiers: other tasks, and plain LightningModules."""
    names = sorted(file.stem for file in (CONFIG_DIR / "model").glob("*.yaml"))
    return [name for name in names if not is_classifier(name)]


def has_key(model: str, key: str) -> bool:
    """Return True if the config of a model has a key."""
    return key in load_option("model", model)["model"]


def get_modality(group: str, name: str) -> str:
    """Return the modality of a model or a dataset: "images" or "text"."""
    node = load_option(group, name)
    target = node.get(group, node).get("_target_")  # data=none has no class
    return str(schema.read_signature(target).constants.get("modality")) if target else "None"


def skip_without_package(model: str) -> None:
    """Skip a test if the package that the class of a model names is not installed."""
    target = load_option("model", model)["model"]["_target_"]
    package = schema.read_signature(target).constants.get("required_package")
    if isinstance(package, str) and find_spec(package) is None:
        pytest.skip(f"model={model} requires the package {package}, which is not installed")


def get_tiny_model(*modalities: str) -> str:
    """Return the first tiny model of one of these modalities. If omitted, any modality, images first."""
    for modality in modalities or TINY_OVERRIDES:
        for name in list_options("model"):
            if get_modality("model", name) == modality:
                return name
    pytest.skip("transformers is not installed: there are no text models", allow_module_level=True)


def make_tiny_overrides(model: str) -> list[str]:
    """Return the overrides that train a model on the smallest dataset of its modality."""
    skip_without_package(model)
    modality = get_modality("model", model)
    assert modality in TINY_OVERRIDES, (
        f"model={model} has the modality {modality!r}. Set the class variable `modality` to 'images' or 'text'."
    )
    # The standard stem is 15 times cheaper than the stem for small images, which has tests of its own.
    stem = ["model.stem=standard"] if has_key(model, "stem") else []
    return [f"model={model}", *stem, *TINY_OVERRIDES[modality], *QUICK_OVERRIDES]
