"""The smallest real models: a convolutional network, a transformer, and two layers on a batch's raw numbers.

`configs/model/` holds an option for each. `tiny_faulty` is `tiny_mlp` with an error that the environment asks for.
"""

import operator
import os
import re
import signal
import time
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn
from torch.nn import functional

from firstlight.model.classifier import Classifier, freeze_first
from firstlight.model.pooling import MPSAdaptiveAvgPool2d
from firstlight.model.pretrained import load_pretrained


class NoWeights(Enum):
    """Names of published weights: there are none."""


class TinyImages(Classifier):
    """Two blocks of a convolution, batch norm, ReLU and pooling."""

    modality: ClassVar[str] = "images"

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        weights: str | None = None,
        width: int = 8,
        freeze_layers: int = 0,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(class_names, label_smoothing, optimizer, scheduler)
        self.save_hyperparameters(logger=False)
        blocks = []
        for channels in (3, width):
            convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
            # ceil_mode: an image of 1 px is not halved to nothing.
            pooling = nn.MaxPool2d(2, ceil_mode=True)
            blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), pooling))
        head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, len(class_names)))
        self.network = nn.Sequential()
        for name, part in {"block1": blocks[0], "block2": blocks[1], "mean": MPSAdaptiveAvgPool2d(1)}.items():
            self.network.add_module(name, part)
        self.network.add_module("flat", nn.Flatten())
        self.network.add_module("head", head)
        if weights:
            load_pretrained(self.network, weights, NoWeights, leave_out="head.")
        freeze_first(blocks, freeze_layers)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits


class Encoder(nn.Module):
    """An embedding of tokens and their places, and one layer of a transformer."""

    def __init__(self, num_words: int, max_tokens: int, width: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.ModuleDict(
            {"words": nn.Embedding(num_words, width, padding_idx=0), "places": nn.Embedding(max_tokens, width)}
        )
        layers = {"project": nn.Linear(width, 3 * width), "norm": nn.LayerNorm(width)}
        self.layer = nn.ModuleDict(layers | {"dropout": nn.Dropout(dropout), "output": nn.Linear(width, width)})
        self.head = nn.Linear(width, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.embedding["words"](input_ids) + self.embedding["places"](places)
        query, key, value = self.layer["project"](hidden)[:, None].chunk(3, -1)  # (batch, 1 head, tokens, width)
        mask = attention_mask[:, None, None, :].bool()
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)[:, 0]
        hidden = self.layer["norm"](hidden + self.layer["dropout"](self.layer["output"](attended)))
        logits: Tensor = self.head(functional.gelu(hidden[:, 0]))
        return logits


class TinyText(Classifier):
    """A transformer of one layer with one head; its tokenizer knows the words of the data."""

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
        label_smoothing: float = 0.0,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        # Imported late: a project without text models has no tokenizers.
        from firstlight.data import word_tokenizer

        super().__init__(class_names, label_smoothing, optimizer, scheduler)
        self.save_hyperparameters(ignore=["vocabulary", "tokenizer"], logger=False)
        self.words = (
            word_tokenizer.from_json(tokenizer) if tokenizer else word_tokenizer.build_word_tokenizer(vocabulary or [])
        )
        self.network = Encoder(len(self.words), max_positions, width, dropout, len(class_names))
        freeze_first([self.network.embedding, self.network.layer], freeze_layers)

    @property
    def tokenizer(self) -> Any:
        return self.words

    @property
    def max_tokens(self) -> int | None:
        return int(self.network.embedding["places"].num_embeddings)

    def rebuild_kwargs(self) -> dict[str, Any]:
        from firstlight.data import word_tokenizer

        return {"tokenizer": word_tokenizer.to_json(self.words)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.network(inputs["input_ids"], inputs["attention_mask"])
        return logits


class TinyMLP(Classifier):
    """Two layers on the pixels of an image."""

    modality: ClassVar[str] = "images"

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        width: int = 4,
        batch_norm: bool = True,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(class_names, label_smoothing, optimizer, scheduler)
        self.save_hyperparameters(logger=False)
        norm = nn.BatchNorm1d(width) if batch_norm else nn.Identity()
        first, last = nn.Linear(3 * image_size**2, width), nn.Linear(width, len(class_names))
        self.network = nn.Sequential(nn.Flatten(), first, norm, nn.ReLU(), nn.Dropout(dropout), last)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits


class TinyFaulty(TinyMLP):
    """Goes wrong as the environment says, which a resumed run does not keep.

    STEP_SECONDS makes each step last so long. FAULT=conditions:what, several of them divided by ";", says what happens
    in the steps that meet all conditions, which are divided by ",": rank, step, epochs, batch or job, one of ==, <
    and >, and a number. `what` is nan, inf, gradient (the loss is a number, its gradients are none), a signal,
    KeyboardInterrupt, or else the message of a RuntimeError. The file FAULT_FILE is touched then.
    """

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        time.sleep(float(os.environ.get("STEP_SECONDS", 0)))
        loss = super().training_step(batch, batch_idx)
        for fault in filter(None, os.environ.get("FAULT", "").split(";")):
            conditions, _, what = fault.partition(":")
            if all(map(self.should_fail, conditions.split(","), [batch] * len(conditions))):
                loss = self.fail(what, loss)
        return loss

    def should_fail(self, condition: str, batch: dict[str, Any]) -> bool:
        """Say whether this step meets a condition."""
        name, sign, number = re.fullmatch(r"(\w+)(==|<|>)(\d+)", condition).groups()  # type: ignore[union-attr]
        value = {
            "rank": lambda: self.trainer.global_rank,
            "step": lambda: self.trainer.global_step,
            "epochs": lambda: self.trainer.max_epochs,
            "batch": lambda: len(batch["labels"]),
            "job": lambda: HydraConfig.get().job.num,
        }[name]()
        return bool({"==": operator.eq, "<": operator.lt, ">": operator.gt}[sign](value, int(number)))

    def fail(self, what: str, loss: Tensor) -> Tensor:
        """Do what FAULT says; return the loss where that is no end."""
        if "FAULT_FILE" in os.environ:
            Path(os.environ["FAULT_FILE"]).touch()
        if what in ("nan", "inf"):
            return loss * float(what)
        if what == "gradient":
            next(self.parameters()).register_hook(lambda gradient: gradient * float("nan"))
            return loss
        if what == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if not what.startswith("SIG"):
            raise RuntimeError(what)
        os.kill(os.getpid(), getattr(signal, what))
        return loss
