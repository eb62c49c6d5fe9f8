"""What is exported: a model on the CPU in float32, and what its inputs are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch
import torch
from torch import Tensor

from firstlight.config.instantiate import instantiate, locate
from firstlight.data.datamodule import ClassificationDataModule
from firstlight.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageDataModule
from firstlight.data.text import TextDataModule
from firstlight.model.classifier import Classifier
from firstlight.model.load import allows_remote_code, load_model

Settings = dict[str, Any]


@dataclass(frozen=True)
class InputSpec:
    """What a model reads.

    Attributes:
        draw: returns what the model takes for so many samples, of so many tokens each if they are texts.
        meaning: by the name of each input, in the order in which the model takes them.
        preprocessing: how a picture or a text becomes these inputs.
        longest: tokens of the longest text; None where the inputs have one size.
    """

    sample: Callable[[int, int], Any]
    meaning: dict[str, str]
    preprocessing: Settings
    longest: int | None = None

    def to_dict(self, drawn: Any) -> dict[str, Tensor]:
        """Return the inputs by their names."""
        return dict(drawn) if isinstance(drawn, dict) else {next(iter(self.meaning)): drawn}


@dataclass(frozen=True)
class ExportSource:
    """A model, what it reads, the checkpoint that it is from, and the configuration of its run."""

    model: Classifier
    inputs: InputSpec
    checkpoint: str
    settings: Settings


def load_source(settings: Settings, checkpoint: str) -> ExportSource:
    """Return the model of a checkpoint, in evaluation mode, whatever device and precision it was trained with."""
    model = load_model(checkpoint, allows_remote_code(settings)).float().eval().requires_grad_(False)
    kind = locate(settings["data"]["_target_"])
    data: ClassificationDataModule = instantiate(settings["data"])
    if isinstance(data, ImageDataModule) and kind.on_after_batch_transfer is ImageDataModule.on_after_batch_transfer:
        inputs = describe_image_inputs(data)
    elif isinstance(data, TextDataModule):
        inputs = describe_text_inputs(model, data)
    else:
        inputs = describe_dataset_inputs(model, data)
    return ExportSource(model, inputs, checkpoint, settings)


def describe_image_inputs(data: ImageDataModule) -> InputSpec:
    """Return the inputs of a model of images: nothing needs to be read for that."""
    size = data.image_size
    middle = "the whole middle square" if size < 64 else f"the middle square, {size} / {round(size * 8 / 7)} of it"
    return InputSpec(
        sample=lambda count, length: torch.randn(count, 3, size, size),
        meaning={"images": "RGB, normalised, (batch, channels, rows, columns)"},
        preprocessing={
            "part": f"{middle} of an image, scaled to {size} x {size} pixels, antialiased",
            "channels": "RGB",
            "image_size": size,
            "normalisation": "(pixel / 255 - mean) / std, channel by channel",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
    )


def describe_text_inputs(model: Classifier, data: TextDataModule) -> InputSpec:
    """Return the inputs of a model of texts."""
    words, longest = len(model.tokenizer), min(data.max_length, model.max_tokens or data.max_length)

    def draw(count: int, length: int) -> dict[str, Tensor]:
        ends = (length - torch.arange(count) * length // 8).clamp(min=1)
        mask = (torch.arange(length) < ends.unsqueeze(1)).long()  # (count, length)
        ids = torch.randint(words, (count, length)) * mask + model.tokenizer.pad_token_id * (1 - mask)
        return {"input_ids": ids, "attention_mask": mask}

    return InputSpec(
        sample=draw,
        meaning={
            "input_ids": "numbers of the tokens, (batch, length)",
            "attention_mask": "1 for a token, 0 for what fills a short text up, (batch, length)",
        },
        preprocessing={
            "tokenizer": "tokenizer.json, read by transformers.AutoTokenizer or tokenizers.Tokenizer.from_file",
            "max_length": data.max_length,
            "padding_id": model.tokenizer.pad_token_id,
        },
        longest=longest,
    )


def describe_dataset_inputs(model: Classifier, data: ClassificationDataModule) -> InputSpec:
    """Return inputs as a data set of another kind has them, of which a batch is read.

    Raises:
        ValueError: they are neither a tensor nor tensors by name.
    """
    trainer = lightning.pytorch.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    data.prepare_data()
    data.setup()
    trainer.strategy.connect(model)
    trainer._data_connector.attach_data(model, datamodule=data)
    batch = model._apply_batch_transfer_handler(next(iter(data.test_dataloader())), torch.device("cpu"))
    found = batch["inputs"]
    if not isinstance(found, Tensor) and not (isinstance(found, dict) and all(map(torch.is_tensor, found.values()))):
        raise ValueError(
            f"An exported model takes a tensor, or tensors by name, but {type(data).__name__} gives "
            f'{type(found).__name__}: put tensors into "inputs"'
        )

    def draw(count: int, length: int) -> Any:
        def chosen(value: Tensor) -> Tensor:
            return value[torch.arange(count) % len(value)]

        return {name: chosen(value) for name, value in found.items()} if isinstance(found, dict) else chosen(found)

    names = list(found) if isinstance(found, dict) else [model.modality]
    kind = f"{type(data).__module__}.{type(data).__qualname__}"
    return InputSpec(draw, dict.fromkeys(names, "as the data set gives it"), {"data": kind})
