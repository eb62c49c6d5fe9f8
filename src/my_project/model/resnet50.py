"""ResNet50 of torchvision."""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from firstlight.model.classifier import Classifier, freeze_first
from firstlight.model.pretrained import load_pretrained


class ResNet50(Classifier):
    """ResNet50 (He et al. 2015, table 1; stride in the 3 x 3 convolution, as in torchvision).

    Args:
        class_names: name of each class, in the order of the logits.
        image_size: side of the images in pixels.
        native_size: side before they were enlarged to image_size; None if they were not.
        weights: torchvision's name, such as IMAGENET1K_V2, a file, or None for random weights.
        stem: "standard" (7 x 7, reduces by 4), "small" (3 x 3, reduces by 1), or "auto".
        freeze_layers: leave the stem and so many of the 4 stages untrained; 0 trains all.
        label_smoothing: as in `Classifier`.
        optimizer: as in `Classifier`.
        scheduler: as in `Classifier`.
    """

    modality: ClassVar[str] = "images"

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        native_size: int | None = None,
        weights: str | None = None,
        stem: Literal["auto", "standard", "small"] = "auto",
        freeze_layers: int = 0,
        label_smoothing: float = 0.0,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(class_names, label_smoothing, optimizer, scheduler)
        self.save_hyperparameters(logger=False)
        if stem == "auto":
            # The standard stem reduces by 4: right for photos, and for small images that were enlarged by 4 or more. The
            # small one costs 15 times as much and keeps the detail of other small images.
            stem = "small" if image_size <= 64 and image_size < 4 * (native_size or image_size) else "standard"
        # Each block starts as the identity (Goyal et al. 2017, section 5.1): one epoch fewer to the same accuracy.
        self.network = resnet50(num_classes=len(class_names), zero_init_residual=True)
        if stem == "small":
            self.network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
            nn.init.kaiming_normal_(self.network.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.network.maxpool = nn.Identity()
        if weights:
            load_pretrained(self.network, weights, ResNet50_Weights, leave_out="fc.")
        stages = [self.network.layer1, self.network.layer2, self.network.layer3, self.network.layer4]
        freeze_first(stages, freeze_layers)
        freeze_first([nn.ModuleList([self.network.conv1, self.network.bn1])], int(freeze_layers > 0))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, size, size)."""
        logits: Tensor = self.network(inputs)
        return logits
