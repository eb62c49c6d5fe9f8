"""VGG16 of torchvision."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights, VGG16_Weights, vgg16, vgg16_bn

from firstlight.model.classifier import Classifier, freeze_first
from firstlight.model.pooling import MPSAdaptiveAvgPool2d
from firstlight.model.pretrained import load_pretrained


class VGG16(Classifier):
    """VGG16 (Simonyan & Zisserman 2014, configuration D).

    Args:
        class_names: name of each class, in the order of the logits.
        image_size: side of the images in pixels.
        native_size: side before they were enlarged to image_size; not needed here.
        weights: torchvision's name, such as IMAGENET1K_V1, a file, or None for random weights.
        batch_norm: normalise after each convolution, as vgg16_bn does; False is the plain VGG16.
        head: "standard" (7 x 7 map, two layers of 4096), "small" (mean of the map, one layer), or "auto".
        freeze_layers: leave so many of the 5 blocks untrained; 0 trains all.
        dropout: share of units dropped in the standard head.
        label_smoothing: as in `Classifier`.
        optimizer: as in `Classifier`.
        scheduler: as in `Classifier`.

    Raises:
        ValueError: the images are too small.
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
        label_smoothing: float = 0.0,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(class_names, label_smoothing, optimizer, scheduler)
        self.save_hyperparameters(logger=False)
        if image_size < 32:
            raise ValueError(f"VGG16 halves an image five times, but data.image_size={image_size}: give 32 or more")
        build = vgg16_bn if batch_norm else vgg16
        # At 32 px the map is 1 x 1: the standard head would repeat it 49 times into 120 M useless weights.
        if head == "small" or (head == "auto" and image_size <= 64):
            with torch.device("meta"):  # or those weights would be drawn first, for a second
                self.network = build(init_weights=False)
            self.network.features = self.network.features.to_empty(device="cpu").apply(init_weights)
            self.network.avgpool = MPSAdaptiveAvgPool2d(1)
            self.network.classifier = nn.Linear(512, len(class_names))
        else:
            self.network = build(num_classes=len(class_names), dropout=dropout)
            self.network.avgpool = MPSAdaptiveAvgPool2d(7)
        if weights:
            choices = VGG16_BN_Weights if batch_norm else VGG16_Weights
            load_pretrained(self.network, weights, choices, leave_out="classifier.")
        freeze_first(self._blocks(), freeze_layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, size, size)."""
        logits: Tensor = self.network(inputs)
        return logits

    def _blocks(self) -> list[nn.Module]:
        """Return the convolutions as 5 blocks, each up to its pooling."""
        blocks: list[nn.Module] = []
        block: list[nn.Module] = []
        for layer in self.network.features:
            block.append(layer)
            if isinstance(layer, nn.MaxPool2d):
                blocks.append(nn.ModuleList(block))
                block = []
        return blocks


def init_weights(layer: nn.Module) -> None:
    """Give a layer the weights that torchvision starts VGG with (He et al. 2015, equation 10, over the outputs)."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.reset_parameters()
