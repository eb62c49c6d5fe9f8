"""Any image network of timm, by name."""

import os
from pathlib import Path
from typing import Any, ClassVar, Unpack

from torch import nn

from firstlight.model.classifier import Classifier, ClassifierSettings
from firstlight.model.freezing import freeze_except
from firstlight.model.pretrained import build_report, load_network_weights, print_report, unknown_network
from firstlight.model.weights_file import read_network_weights
from firstlight.run.download import describe_failed_download, get_hub_model_dir, show_download
from firstlight.run.errors import CheckpointError, ConfigError, MissingPackageError, invalid_value, missing_package
from firstlight.run.packages import is_installed


class TimmClassifier(Classifier):
    """Any network of timm, with a head for the classes of the dataset.

    timm's `pretrained_cfg` of the name states mean and standard deviation of the images, and their size if the network
    accepts a single one. Without a tag such as ".fb_in1k", the name stands for the default weights.

    Args:
        class_names: Name of each class, in the order of the logits.
        name: timm's name of the network, such as convnext_tiny or convnext_tiny.fb_in1k.
        weights: "pretrained" (from the Hugging Face Hub), a file, or None for random weights.
        freeze_backbone: Whether only the head is trained.
        network_kwargs: Further arguments of timm.create_model, such as drop_path_rate or img_size.
        settings: See `ClassifierSettings`.

    Raises:
        MissingPackageError: If timm is not installed.
        ConfigError: If the network does not exist.
        CheckpointError: If the weights cannot be loaded, or do not fit the network.
    """

    modality: ClassVar[str] = "images"
    required_package: ClassVar[str] = "timm"

    def __init__(
        self,
        class_names: list[str],
        name: str,
        weights: str | None = None,
        freeze_backbone: bool = False,
        network_kwargs: dict[str, Any] | None = None,
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        super().__init__(class_names, **settings)
        validate_timm_name(name)
        if weights not in (None, "pretrained") and not Path(str(weights)).is_file():
            expected, fix = "pretrained, an existing file or null", "Use e.g. model.weights=pretrained."
            raise ConfigError(invalid_value("model.weights", weights, expected, fix))
        from timm import create_model  # two seconds

        self.name = name
        num_classes, kwargs = len(class_names), network_kwargs or {}
        if weights == "pretrained":
            self.network = create_pretrained(name, num_classes, kwargs)
        else:
            self.network = create_model(name, num_classes=num_classes, **kwargs)
        config = self.network.pretrained_cfg
        head = get_head_prefixes(config)
        if weights and weights != "pretrained":
            load_network_weights(self.network, read_network_weights(weights), weights, head)
        self.input_mean, self.input_std = list(config["mean"]), list(config["std"])
        self.input_size = get_required_size(config, kwargs)
        if freeze_backbone:
            freeze_except(self.network, head)

    def get_load_overrides(self) -> dict[str, Any]:
        """Return random weights: the checkpoint replaces them."""
        return {"weights": None}


def validate_timm_name(name: str) -> None:
    """Check that timm has a network of this name, and weights of its tag.

    Raises:
        MissingPackageError: If timm is not installed.
        ConfigError: If there is no such network or tag.
    """
    if not is_installed("timm"):
        raise MissingPackageError(missing_package("model=timm", "timm"))
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise ConfigError(unknown_network(name, timm.list_models(), "timm.list_models()"))
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise ConfigError(unknown_network(name, tagged or [architecture], f"timm.list_pretrained('{architecture}.*')"))


def create_pretrained(name: str, num_classes: int, kwargs: dict[str, Any]) -> nn.Module:
    """Create a network with pretrained weights and a new head; print their license and how many tensors were loaded.

    Raises:
        CheckpointError: If there are no weights, or they cannot be downloaded.
    """
    from timm import create_model

    try:
        # With its original head, because timm then requires that all tensors fit.
        hub_dir = get_hub_model_dir(get_hub_name(name), os.environ)
        with show_download(f"Downloading model.weights=pretrained for model.name={name}", hub_dir):
            network: Any = create_model(name, pretrained=True, **kwargs)
    except (OSError, RuntimeError) as error:
        download = f"`hf download {get_hub_name(name)} model.safetensors --local-dir <directory>`"
        if by_hand := describe_failed_download(error, download, "model.weights=<directory>/model.safetensors"):
            raise CheckpointError(
                f"Could not load model.weights=pretrained for model.name={name}: {by_hand}"
            ) from error
        raise CheckpointError(
            f"Could not load model.weights=pretrained for model.name={name} ({' '.join(str(error).split())[:200]}). "
            "Check your connection, set model.weights to a file, or use random weights with model.weights=null."
        ) from error
    before = network.state_dict(keep_vars=True)
    network.reset_classifier(num_classes)
    after = network.state_dict(keep_vars=True)
    initialized = [key for key, tensor in after.items() if tensor is not before.get(key)]
    replaced = [key for key, tensor in before.items() if tensor is not after.get(key)]
    report = build_report(after, initialized, replaced, initialized.__contains__)
    config = network.pretrained_cfg
    tag = f".{config['tag']}" if config.get("tag") else ""
    license_name = config.get("license") or "not stated"
    print_report(f"{report.format()}; {config['architecture']}{tag}, license {license_name}")
    return network


def get_hub_name(name: str) -> str:
    """Return the name of the pretrained weights of a network on the Hugging Face Hub."""
    from timm import get_pretrained_cfg

    config: Any = get_pretrained_cfg(name)
    return str(getattr(config, "hf_hub_id", None) or f"timm/{name}")


def get_head_prefixes(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the prefixes of the parameters of the head; networks with distillation have two layers."""
    names = config["classifier"]
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def get_required_size(config: dict[str, Any], kwargs: dict[str, Any]) -> int | None:
    """Return the side of the images in pixels if the network accepts a single size, or else None.

    Args:
        config: timm's `pretrained_cfg` of the network.
        kwargs: Arguments of the network; img_size replaces the size of the weights.
    """
    size = kwargs.get("img_size")
    if not config.get("fixed_input_size") or kwargs.get("dynamic_img_size"):
        return None
    return int(size[0] if isinstance(size, list) else size or config["input_size"][-1])
