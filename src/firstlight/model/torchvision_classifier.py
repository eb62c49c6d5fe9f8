"""Any classification network of torchvision, by name."""

from typing import Any, ClassVar, Unpack

import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from firstlight.model.classifier import Classifier, ClassifierSettings
from firstlight.model.freezing import freeze_except
from firstlight.model.pooling import MPSAdaptiveAvgPool2d
from firstlight.model.pretrained import load_pretrained, unknown_network
from firstlight.run.errors import ConfigError, invalid_value

# Networks with auxiliary outputs in training. torchvision's ImageNet weights for them expect pixels from -1 to 1.
AUX_NETWORKS = ("googlenet", "inception_v3")
# The name of the builder's argument for the image size, for networks that accept a single size.
SIZE_ARGUMENTS = {"vit": "image_size", "maxvit": "input_size"}
DEFAULT_SIZE = 224


class TorchvisionClassifier(Classifier):
    """Any classification network of torchvision, with a head for the classes of the dataset.

    Args:
        class_names: Name of each class, in the order of the logits.
        name: torchvision's name of the network, such as efficientnet_v2_s.
        image_size: Side of the images in pixels. If None, it is not checked.
        weights: torchvision's name, such as IMAGENET1K_V1 or DEFAULT, a file, or None for random weights.
        freeze_backbone: Whether only the head is trained.
        network_kwargs: Further arguments of torchvision's function of this name, such as dropout.
        input_mean: Mean of the RGB channels, 0 to 1. If None, as for the weights.
        input_std: Standard deviation of the RGB channels. If None, as for the weights.
        settings: See `ClassifierSettings`.

    Raises:
        ConfigError: If the network does not exist, or the images are too small for it.
    """

    modality: ClassVar[str] = "images"

    def __init__(
        self,
        class_names: list[str],
        name: str,
        image_size: int | None = None,
        weights: str | None = None,
        freeze_backbone: bool = False,
        network_kwargs: dict[str, Any] | None = None,
        input_mean: list[float] | None = None,
        input_std: list[float] | None = None,
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        super().__init__(class_names, **settings)
        validate_name(name)
        self.name = name
        weights_enum = get_model_weights(name)
        published = weights_enum.__members__.get(weights, weights_enum.DEFAULT)
        self.network_kwargs = dict(network_kwargs or {})
        size_argument = SIZE_ARGUMENTS.get(name.partition("_")[0])
        if size_argument == "image_size" and weights in weights_enum.__members__:
            # Some weights of ViT are for larger images.
            self.network_kwargs.setdefault(size_argument, published.meta["min_size"][0])
        self.input_size = get_input_size(self.network_kwargs.get(size_argument)) if size_argument else None
        if image_size is not None and self.input_size is None:
            validate_image_size(name, image_size)
        mean, std = get_normalization(name, published)
        self.input_mean, self.input_std = input_mean or mean, input_std or std
        self.network = build_network(name, len(class_names), self.network_kwargs)
        head = find_head(self.network, len(class_names))
        if weights:
            load_pretrained(self.network, weights, weights_enum, skip_prefix=head)
        if freeze_backbone:
            freeze_except(self.network, (head,))

    def get_load_overrides(self) -> dict[str, Any]:
        """Return random weights, which the checkpoint replaces, and the settings that depend on the weights."""
        kwargs = {"network_kwargs": self.network_kwargs} if self.network_kwargs else {}
        return {"weights": None, "input_mean": self.input_mean, "input_std": self.input_std, **kwargs}


def validate_name(name: str) -> None:
    """Check that torchvision has a classification network of this name.

    Raises:
        ConfigError: If it has none.
    """
    names = list_models(module=torchvision.models)
    if name not in names:
        raise ConfigError(unknown_network(name, names, "torchvision.models.list_models()"))


def validate_image_size(name: str, image_size: int) -> None:
    """Check that images are large enough for a network that accepts any larger size.

    Raises:
        ConfigError: If they are smaller.
    """
    min_size = get_model_weights(name).DEFAULT.meta["min_size"][0]
    # For Swin Transformer, torchvision states the size of the training images, but it pads smaller ones.
    if image_size < min_size < DEFAULT_SIZE:
        expected = f"an integer of at least {min_size} (model.name={name})"
        raise ConfigError(
            invalid_value("data.image_size", image_size, expected, f"Use e.g. data.image_size={min_size}.")
        )


def get_input_size(argument: Any) -> int:
    """Return the side of the images in pixels from the builder's argument: None, a number, or height and width."""
    if argument is None:
        return DEFAULT_SIZE
    return int(argument if isinstance(argument, int) else argument[0])


def get_normalization(name: str, weights: Any) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of the RGB channels that published weights of a network expect."""
    if name in AUX_NETWORKS:
        # torchvision converts images normalized for ImageNet to this range in the network (transform_input=True).
        return [0.5] * 3, [0.5] * 3
    transforms = weights.transforms()
    return list(transforms.mean), list(transforms.std)


def build_network(name: str, num_classes: int, kwargs: dict[str, Any]) -> nn.Module:
    """Build a network with random weights and a single output.

    Raises:
        ConfigError: If the arguments ask for auxiliary outputs.
    """
    if kwargs.get("aux_logits"):
        raise ConfigError(
            "model.network_kwargs.aux_logits=true is not supported: a classifier has a single output. Remove the key."
        )
    if name in AUX_NETWORKS:
        kwargs = {**kwargs, "aux_logits": False, "init_weights": True}
    network: nn.Module = get_model(name, weights=None, num_classes=num_classes, **kwargs)
    for module in network.modules():
        for child_name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                size: Any = child.output_size
                setattr(module, child_name, MPSAdaptiveAvgPool2d(size if isinstance(size, int) else size[0]))
    return network


def find_head(network: nn.Module, num_classes: int) -> str:
    """Return the prefix of the parameters of the last linear layer or convolution with one output per class."""
    layers = [
        name
        for name, module in network.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == num_classes)
        or (isinstance(module, nn.Conv2d) and module.out_channels == num_classes)
    ]
    return f"{layers[-1]}."
