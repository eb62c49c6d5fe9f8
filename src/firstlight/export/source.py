"""The source of an export: a trained model on the CPU in float32, and the specification of its inputs."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lightning.pytorch
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from firstlight.checkpoint.io import load_checkpoint
from firstlight.data.datamodule import LabeledDataModule
from firstlight.data.images import ImageDataModule
from firstlight.data.text import TextDataModule
from firstlight.model.image_input import apply_image_input
from firstlight.model.load import allows_remote_code, build_datamodule, load_model
from firstlight.model.task import Task
from firstlight.run.errors import ConfigError, DataError
from firstlight.run.files import ENGINE_KEY

Config = dict[str, Any]


@dataclass(frozen=True)
class InputSpec:
    """Specification of a model's inputs.

    Attributes:
        sample: Returns random inputs for a batch size and a text length in tokens; images ignore the length.
        descriptions: Description of each input by name, in the order in which the model takes them.
        preprocessing: How an image or a text is converted to these inputs.
        max_length: Maximum length of a text in tokens; None if the inputs have a fixed size.
        image_data: Dataset whose preprocessing of image files predict applies; None for other inputs.
    """

    sample: Callable[[int, int], Any]
    descriptions: dict[str, str]
    preprocessing: dict[str, Any]
    max_length: int | None = None
    image_data: ImageDataModule | None = None

    def name_inputs(self, inputs: Any) -> dict[str, Tensor]:
        """Return the inputs by name."""
        return dict(inputs) if isinstance(inputs, dict) else {next(iter(self.descriptions)): inputs}


@dataclass(frozen=True)
class ExportSource:
    """A model, its inputs, the path of its checkpoint, the config of its run, and the model's other arguments."""

    model: Any
    inputs: InputSpec
    checkpoint: str
    config: Config
    model_kwargs: Config = field(default_factory=dict)

    @property
    def task(self) -> str | None:
        """Task of the model, such as "classification"; None for a module of another package."""
        return getattr(self.model, "task", None)

    @property
    def modality(self) -> str | None:
        """Modality of the model, "images" or "text"; None if it states none."""
        return getattr(self.model, "modality", None)


def load_source(config: Config, checkpoint: str) -> ExportSource:
    """Load the model of a checkpoint in eval mode on the CPU, whatever device and precision it was trained with."""
    saved = load_checkpoint(checkpoint)
    model = load_model(saved, allows_remote_code(config)).float().eval().requires_grad_(False)
    changed = model.prepare_for_export() if isinstance(model, Task) else {}
    data: Any = build_datamodule(config)
    transfer_hook = getattr(type(data), "on_after_batch_transfer", None)
    # A subclass that overrides the hook may preprocess its images in another way.
    if isinstance(data, ImageDataModule) and transfer_hook is ImageDataModule.on_after_batch_transfer:
        apply_image_input(model, data)
        inputs = describe_image_inputs(data)
    elif isinstance(data, TextDataModule):
        inputs = describe_text_inputs(model, data)
    elif isinstance(model, Task) and data is not None:
        inputs = describe_batch_inputs(model, data)
    else:
        inputs = describe_example_inputs(model, data)
    return ExportSource(model, inputs, checkpoint, config, saved[ENGINE_KEY]["model_kwargs"] | changed)


def describe_image_inputs(data: ImageDataModule) -> InputSpec:
    """Return the inputs of an image model; no data is read."""
    size = data.image_size
    crop = "center square" if size < 64 else f"center square, {size} / {round(size * 8 / 7)} of the shorter side"
    return InputSpec(
        sample=lambda batch_size, length: torch.randn(batch_size, 3, size, size),
        descriptions={"images": "RGB, normalized, (batch, channels, height, width)"},
        preprocessing={
            "crop": f"{crop}, resized to {size} x {size} pixels with antialiasing",
            "channels": "RGB",
            "image_size": size,
            "normalization": "(pixel / 255 - mean) / std, per channel",
            "mean": list(data.mean),
            "std": list(data.std),
            "code": 'from preprocess import load_image; images = load_image("photo.jpg")',
        },
        image_data=data,
    )


def describe_example_inputs(model: LightningModule, data: LightningDataModule | None) -> InputSpec:
    """Return the inputs of any module: its `example_input_array`, or the part of its first batch that forward accepts.

    Only the formats that trace the model need them: without inputs, `sample` raises.
    """
    example: Any = model.example_input_array
    source = "example_input_array"
    if example is None:
        example, source = find_inputs_in_batch(model, data), "the first training batch"
    is_dict = isinstance(example, dict) and bool(example) and all(map(torch.is_tensor, example.values()))
    if not isinstance(example, Tensor) and not is_dict:
        return InputSpec(partial(raise_no_inputs, type(model).__name__), {}, {})
    names = list(example) if is_dict else ["inputs"]
    return InputSpec(make_sampler(example), dict.fromkeys(names, f"as in {source}"), {})


def find_inputs_in_batch(model: LightningModule, data: LightningDataModule | None) -> Any:
    """Return the first part of a training batch that forward maps to a tensor: the batch or one of its items, or None.

    The hooks of the datamodule are called: this process only exports.
    """
    with suppress(Exception):  # data and model can raise anything
        owner: Any = model if data is None else data
        owner.prepare_data()
        owner.setup("fit")
        batch = next(iter(owner.train_dataloader()))
        items = list(batch.values()) if isinstance(batch, dict) else list(batch) if not torch.is_tensor(batch) else []
        for candidate in [batch, *items]:
            with suppress(Exception), torch.no_grad():
                if isinstance(candidate, Tensor | dict) and isinstance(model(candidate), Tensor):
                    return candidate
    return None


def raise_no_inputs(name: str, batch_size: int, length: int) -> Any:
    """Raise the error of a module whose inputs are unknown.

    Raises:
        ConfigError: If it is called.
    """
    raise ConfigError(
        f"Cannot export {name}: forward accepts no tensor of its first batch. Set self.example_input_array in its "
        "__init__ to an input of forward, a tensor or a dictionary of tensors, or use format=safetensors."
    )


def make_sampler(inputs: Any) -> Callable[[int, int], Any]:
    """Return a function that repeats inputs to a batch size; it ignores the length.

    Args:
        inputs: A tensor or a dictionary of tensors, whose first dimension is the batch.
    """

    def sample(batch_size: int, length: int) -> Any:
        def select(tensor: Tensor) -> Tensor:
            return tensor[torch.arange(batch_size) % len(tensor)]

        return {name: select(tensor) for name, tensor in inputs.items()} if isinstance(inputs, dict) else select(inputs)

    return sample


def describe_text_inputs(model: Any, data: TextDataModule) -> InputSpec:
    """Return the inputs of a text model; no data is read."""
    tokenizer, max_length = model.tokenizer, min(data.max_length, model.max_tokens or data.max_length)

    def sample(batch_size: int, length: int) -> dict[str, Tensor]:
        # Each text is an eighth shorter than the one before it, so that padding is sampled too.
        num_tokens = (length - torch.arange(batch_size) * length // 8).clamp(min=1)
        mask = (torch.arange(length) < num_tokens.unsqueeze(1)).long()  # (batch_size, length)
        ids = torch.randint(len(tokenizer), (batch_size, length)) * mask + tokenizer.pad_token_id * (1 - mask)
        return {"input_ids": ids, "attention_mask": mask}

    return InputSpec(
        sample=sample,
        descriptions={
            "input_ids": "token IDs, (batch, length)",
            "attention_mask": "1 for a token, 0 for padding, (batch, length)",
        },
        preprocessing={
            "tokenizer": "tokenizer.json, for tokenizers.Tokenizer.from_file; transformers.AutoTokenizer truncates "
            "only with truncation=True",
            "max_length": max_length,
            "pad_token_id": tokenizer.pad_token_id,
        },
        max_length=max_length,
    )


def describe_batch_inputs(model: Task, data: LabeledDataModule) -> InputSpec:
    """Return the inputs of a custom datamodule, taken from its first test batch.

    Raises:
        DataError: If `batch["inputs"]` is neither a tensor nor a dictionary of tensors.
    """
    trainer = lightning.pytorch.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    data.prepare_data()
    data.setup("fit")
    trainer.strategy.connect(model)
    trainer._data_connector.attach_data(model, datamodule=data)
    batch = model._apply_batch_transfer_handler(next(iter(data.test_dataloader())), torch.device("cpu"))
    inputs = batch["inputs"]
    if not isinstance(inputs, Tensor) and not (isinstance(inputs, dict) and all(map(torch.is_tensor, inputs.values()))):
        raise DataError(
            f'Cannot export: expected a tensor or a dictionary of tensors in batch["inputs"] of {type(data).__name__}, '
            f"got {type(inputs).__name__}. Return one of these from the dataset."
        )

    names = list(inputs) if isinstance(inputs, dict) else [model.modality or "inputs"]
    data_class = f"{type(data).__module__}.{type(data).__qualname__}"
    return InputSpec(make_sampler(inputs), dict.fromkeys(names, "as provided by the datamodule"), {"data": data_class})
