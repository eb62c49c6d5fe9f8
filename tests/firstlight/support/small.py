"""The least that trains, for tests of what stands around a model."""

from torch import nn

from firstlight import build as builder
from firstlight.data import word_tokenizer
from firstlight.model.classifier import Classifier
from support.choices import TINY, a_model, kind_of

# Images, or texts where no model reads images.
MODEL = a_model()
KIND = kind_of("model", MODEL)
# 4 pictures of 2 x 2 px a batch, or 4 texts of 12 tokens.
TWELVE = {"images": ["data.image_size=2"], "text": ["data.max_length=12", "data.pad_to=12"]}
WORDS = [f"model={MODEL}", *TINY[KIND], *TWELVE[KIND]]
WORDS.remove("data.num_samples=16")
WORDS += ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "logger=none"]


class Small(Classifier):
    """Two layers on twelve numbers: pixels or tokens."""

    reads = KIND

    def __init__(self):
        # SGD: AdamW would scale up the rounding of gradients that are zero, those of the bias before the norm.
        super().__init__(["class 0", "class 1"], 0.0, {"_target_": "torch.optim.SGD", "lr": 0.1}, None)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))

    @property
    def tokenizer(self):
        return None if KIND == "images" else word_tokenizer.of_words([f"word{index}" for index in range(1000)])

    def forward(self, inputs):
        return self.network(inputs if KIND == "images" else inputs["input_ids"] / 1000)


def build(composed, monkeypatch, *words):
    """Return model, data, trainer and configuration of a training of it."""
    monkeypatch.setattr(builder, "build_model", lambda settings, facts: Small())
    cfg = composed(*WORDS, *words)
    return *builder.build(cfg), cfg
