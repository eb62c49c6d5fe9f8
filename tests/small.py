"""The least that trains, for tests of what stands around a model."""

from torch import nn

from firstlight import run
from firstlight.model.classifier import Classifier

# 4 pictures of 2 x 2 px a batch.
WORDS = ["model=vgg16", "data=fake_images", "data.image_size=2", "data.num_classes=2", "data.batch_size=4"]
WORDS += ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "logger=none"]


class Small(Classifier):
    """Two layers on the pixels."""

    reads = "images"

    def __init__(self):
        # SGD: AdamW would scale up the rounding of gradients that are zero, those of the bias before the norm.
        super().__init__(["class 0", "class 1"], 0.0, {"_target_": "torch.optim.SGD", "lr": 0.1}, None)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, inputs):
        return self.network(inputs)


def build(composed, monkeypatch, *words):
    """Return model, data, trainer and configuration of a training of it."""
    monkeypatch.setattr(run, "build_model", lambda settings, facts: Small())
    cfg = composed(*WORDS, *words)
    return *run.build(cfg), cfg
