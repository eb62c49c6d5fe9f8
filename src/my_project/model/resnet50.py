"""ResNet50 from torchvision."""

from typing import Any, ClassVar, Literal, Unpack

from torch import nn
from torchvision.models import ResNet50_Weights, resnet50

from firstlight.model.classifier import Classifier, ClassifierSettings
from firstlight.model.freezing import freeze_first
from firstlight.model.pretrained import load_pretrained


class ResNet50(Classifier):
    """ResNet50 (He et al. 2015, table 1; stride in the 3 x 3 convolution, as in torchvision).

    Args:
        class_names: Name of each class, in the order of the logits.
        image_size: Side of the images in pixels.
        native_size: Side of the images before they were enlarged to `image_size`. If None, they were not.
        weights: torchvision's name, such as IMAGENET1K_V2, a file, or None for random weights.
        stem: "standard" (7 x 7, total stride 4), "small" (3 x 3, stride 1), or "auto" (chosen by image size).
        freeze_layers: Number of the 4 stages to freeze, along with the stem. 0 trains all.
        settings: See `ClassifierSettings`.
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
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        super().__init__(class_names, **settings)
        if stem == "auto":
            # The standard stem suits photos, and small images that were enlarged by a factor of 4 or more. The small
            # stem preserves the details of other small images, at 15 times the cost.
            is_enlarged = image_size >= 4 * (native_size or image_size)
            stem = "small" if image_size <= 64 and not is_enlarged else "standard"
        # zero_init_residual: each block starts as the identity (Goyal et al. 2017, section 5.1), which reaches the same
        # accuracy one epoch earlier.
        self.network = resnet50(num_classes=len(class_names), zero_init_residual=True)
        if stem == "small":
            self.network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
            nn.init.kaiming_normal_(self.network.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.network.maxpool = nn.Identity()
        if weights:
            hint = "For small images, set model.stem=standard."
            load_pretrained(self.network, weights, ResNet50_Weights, skip_prefix="fc.", hint=hint)
        stages = [self.network.layer1, self.network.layer2, self.network.layer3, self.network.layer4]
        freeze_first(stages, freeze_layers)
        freeze_first([nn.ModuleList([self.network.conv1, self.network.bn1])], int(freeze_layers > 0))

    def get_load_overrides(self) -> dict[str, Any]:
        """Return random weights: the checkpoint replaces them."""
        return {"weights": None}
