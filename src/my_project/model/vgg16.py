"""VGG16 from torchvision."""

from typing import Any, ClassVar, Literal, Unpack

import torch
from torch import nn
from torchvision.models import VGG16_BN_Weights, VGG16_Weights, vgg16, vgg16_bn

from firstlight.model.classifier import Classifier, ClassifierSettings
from firstlight.model.freezing import freeze_first
from firstlight.model.pooling import MPSAdaptiveAvgPool2d
from firstlight.model.pretrained import load_pretrained
from firstlight.run.errors import ConfigError, invalid_value


class VGG16(Classifier):
    """VGG16 (Simonyan & Zisserman 2014, configuration D).

    Args:
        class_names: Name of each class, in the order of the logits.
        image_size: Side of the images in pixels.
        native_size: Unused.
        weights: torchvision's name, such as IMAGENET1K_V1, a file, or None for random weights.
        batch_norm: Whether to normalize after each convolution, as in vgg16_bn. False is the original VGG16.
        head: "standard" (7 x 7 map, two hidden layers of 4096), "small" (global average pooling, one linear layer), or
            "auto" (chosen by image size).
        freeze_layers: Number of the 5 blocks to freeze. 0 trains all.
        dropout: Dropout probability in the standard head.
        settings: See `ClassifierSettings`.

    Raises:
        ConfigError: If the images are smaller than 32 pixels.
    """

    modality: ClassVar[str] = "images"

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        native_size: int | None = None,
        weights: str | None = None,
        batch_norm: bool = True,
        head: Literal["auto", "standard", "small"] = "auto",
        freeze_layers: int = 0,
        dropout: float = 0.5,
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        super().__init__(class_names, **settings)
        if image_size < 32:
            expected = "an integer of at least 32 (VGG16 halves the image size five times)"
            raise ConfigError(invalid_value("data.image_size", image_size, expected, "Use e.g. data.image_size=32."))
        build_network = vgg16_bn if batch_norm else vgg16
        # At 32 px the map is 1 x 1: the standard head would repeat it 49 times, for 120 M useless weights.
        if head == "small" or (head == "auto" and image_size <= 64):
            # The meta device skips the initialization of these weights, which takes a second.
            with torch.device("meta"):
                self.network = build_network(init_weights=False)
            self.network.features = self.network.features.to_empty(device="cpu").apply(init_weights)
            self.network.avgpool = MPSAdaptiveAvgPool2d(1)
            self.network.classifier = nn.Linear(512, len(class_names))
        else:
            self.network = build_network(num_classes=len(class_names), dropout=dropout)
            self.network.avgpool = MPSAdaptiveAvgPool2d(7)
        if weights:
            weights_enum = VGG16_BN_Weights if batch_norm else VGG16_Weights
            load_pretrained(self.network, weights, weights_enum, skip_prefix="classifier.")
        freeze_first(self._list_blocks(), freeze_layers)

    def get_load_overrides(self) -> dict[str, Any]:
        """Return random weights: the checkpoint replaces them."""
        return {"weights": None}

    def _list_blocks(self) -> list[nn.Module]:
        """Return the 5 blocks of convolutions, each with its pooling layer at the end."""
        blocks: list[nn.Module] = []
        block: list[nn.Module] = []
        for layer in self.network.features:
            block.append(layer)
            if isinstance(layer, nn.MaxPool2d):
                blocks.append(nn.ModuleList(block))
                block = []
        return blocks


def init_weights(layer: nn.Module) -> None:
    """Initialize a layer as torchvision does for VGG (He et al. 2015, equation 10, with fan_out)."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.reset_parameters()
