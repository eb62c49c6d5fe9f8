"""The smallest real models: a convolutional network, a transformer and a multilayer perceptron.

Each has an option in `configs/model/`. `tiny_faulty` is `tiny_mlp` with an error that environment variables select.
"""

import operator
import os
import re
import signal
import time
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Unpack

import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn
from torch.nn import functional

from firstlight.model.classifier import Classifier, ClassifierSettings
from firstlight.model.freezing import freeze_first
from firstlight.model.pooling import MPSAdaptiveAvgPool2d
from firstlight.model.pretrained import load_pretrained


class TinyImagesWeights(Enum):
    """Names of published weights. There are none."""


class TinyImages(Classifier):
    """Two blocks of convolution, batch norm, ReLU and pooling."""

    modality: ClassVar[str] = "images"

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        weights: str | None = None,
        width: int = 8,
        freeze_layers: int = 0,
        dropout: float = 0.1,
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        super().__init__(class_names, **settings)
        blocks = []
        for channels in (3, width):
            convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
            # ceil_mode: an image of 1 px keeps one pixel.
            pooling = nn.MaxPool2d(2, ceil_mode=True)
            blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), pooling))
        head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, len(class_names)))
        self.network = nn.Sequential()
        modules = {"block1": blocks[0], "block2": blocks[1], "pool": MPSAdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        for name, module in {**modules, "head": head}.items():
            self.network.add_module(name, module)
        if weights:
            load_pretrained(self.network, weights, TinyImagesWeights, skip_prefix="head.")
        freeze_first(blocks, freeze_layers)

    def get_load_overrides(self) -> dict[str, Any]:
        return {"weights": None}


class Encoder(nn.Module):
    """Token and position embeddings, and one transformer layer."""

    def __init__(self, num_words: int, max_tokens: int, width: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.ModuleDict(
            {"words": nn.Embedding(num_words, width, padding_idx=0), "positions": nn.Embedding(max_tokens, width)}
        )
        layers = {"project": nn.Linear(width, 3 * width), "norm": nn.LayerNorm(width)}
        self.layer = nn.ModuleDict(layers | {"dropout": nn.Dropout(dropout), "output": nn.Linear(width, width)})
        self.head = nn.Linear(width, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.embedding["words"](input_ids) + self.embedding["positions"](positions)
        query, key, value = self.layer["project"](hidden)[:, None].chunk(3, -1)  # (batch, 1 head, tokens, width)
        mask = attention_mask[:, None, None, :].bool()
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)[:, 0]
        hidden = self.layer["norm"](hidden + self.layer["dropout"](self.layer["output"](attended)))
        logits: Tensor = self.head(functional.gelu(hidden[:, 0]))
        return logits


class TinyText(Classifier):
    """A transformer of one layer with one head. Its tokenizer has the words of the dataset."""

    modality: ClassVar[str] = "text"

    def __init__(
        self,
        class_names: list[str],
        vocabulary: list[str] | None = None,
        tokenizer: str | None = None,
        max_positions: int = 512,
        width: int = 16,
        freeze_layers: int = 0,
        dropout: float = 0.1,
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        # Imported here, because a project without text models does not have the packages.
        from firstlight.data.word_tokenizer import build_word_tokenizer, tokenizer_from_json

        super().__init__(class_names, **settings)
        self._tokenizer = tokenizer_from_json(tokenizer) if tokenizer else build_word_tokenizer(vocabulary or [])
        self.network = Encoder(len(self._tokenizer), max_positions, width, dropout, len(class_names))
        freeze_first([self.network.embedding, self.network.layer], freeze_layers)

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def max_tokens(self) -> int | None:
        return int(self.network.embedding["positions"].num_embeddings)

    def get_load_overrides(self) -> dict[str, Any]:
        from firstlight.data.word_tokenizer import tokenizer_to_json

        return {"vocabulary": None, "tokenizer": tokenizer_to_json(self._tokenizer)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.network(inputs["input_ids"], inputs["attention_mask"])
        return logits


class TinyMLP(Classifier):
    """Two linear layers on the pixels of an image."""

    modality: ClassVar[str] = "images"

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        width: int = 4,
        batch_norm: bool = True,
        dropout: float = 0.0,
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        super().__init__(class_names, **settings)
        norm = nn.BatchNorm1d(width) if batch_norm else nn.Identity()
        first, last = nn.Linear(3 * image_size**2, width), nn.Linear(width, len(class_names))
        self.network = nn.Sequential(nn.Flatten(), first, norm, nn.ReLU(), nn.Dropout(dropout), last)


class TinyFaulty(TinyMLP):
    """Fails as environment variables select, so that a resumed run need not fail again.

    STEP_SECONDS: Duration of each step in seconds.
    FAULT: CONDITIONS:FAILURE, several of them separated by ";". The failure happens in each step that meets all of its
        conditions, which are separated by ",". A condition is rank, step, epochs, batch or job, then ==, < or >, then a
        number. The failure is nan, inf, gradient (the loss is finite, its gradients are NaN), a signal,
        KeyboardInterrupt, or the message of a RuntimeError.
    FAULT_FILE: File that is touched before each failure.
    """

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        time.sleep(float(os.environ.get("STEP_SECONDS", 0)))
        loss = super().training_step(batch, batch_idx)
        for fault in filter(None, os.environ.get("FAULT", "").split(";")):
            conditions, _, failure = fault.partition(":")
            if all(self.meets_condition(condition, batch) for condition in conditions.split(",")):
                loss = self.fail(failure, loss)
        return loss

    def meets_condition(self, condition: str, batch: dict[str, Any]) -> bool:
        """Return True if this step meets a condition."""
        name, comparison, number = re.fullmatch(r"(\w+)(==|<|>)(\d+)", condition).groups()  # type: ignore[union-attr]
        value = {
            "rank": lambda: self.trainer.global_rank,
            "step": lambda: self.trainer.global_step,
            "epochs": lambda: self.trainer.max_epochs,
            "batch": lambda: len(batch["labels"]),
            "job": lambda: HydraConfig.get().job.num,
        }[name]()
        return bool({"==": operator.eq, "<": operator.lt, ">": operator.gt}[comparison](value, int(number)))

    def fail(self, failure: str, loss: Tensor) -> Tensor:
        """Fail; return the loss if the failure does not end the step."""
        if "FAULT_FILE" in os.environ:
            Path(os.environ["FAULT_FILE"]).touch()
        if failure in ("nan", "inf"):
            return loss * float(failure)
        if failure == "gradient":
            next(self.parameters()).register_hook(lambda gradient: gradient * float("nan"))
            return loss
        if failure == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if not failure.startswith("SIG"):
            raise RuntimeError(failure)
        os.kill(os.getpid(), getattr(signal, failure))
        return loss
