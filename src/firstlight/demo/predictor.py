"""Predict one input in memory, exactly as `make predict` predicts a file."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from PIL import Image
from torch import Tensor

from firstlight.data.datamodule import LabeledDataModule
from firstlight.data.image_io import decode_image_crop, get_center_crop_box
from firstlight.demo.inputs import InputError, describe_unreadable, get_max_bytes, validate_image, validate_text
from firstlight.model.classifier import Classifier
from firstlight.model.multilabel import MultiLabelClassifier
from firstlight.model.regressor import Regressor
from firstlight.model.task import Task
from firstlight.run.errors import ConfigError
from firstlight.trainer.trainer import Trainer

# The page shows the most probable classes.
MAX_ROWS = 10
VALIDATE: dict[str, Callable[[bytes], Any]] = {"images": validate_image, "text": validate_text}


class Predictor:
    """The model of a run, with the preprocessing and the trainer of `make predict`. It predicts one input at a time.

    Args:
        model: The model.
        data: Its dataset, without samples.
        trainer: The trainer.
        checkpoint: Name of the checkpoint, for the page.

    Raises:
        ConfigError: If the model is not a `Task` for images or texts, or its dataset reads files in a way of its own.
    """

    def __init__(
        self, model: LightningModule, data: LightningDataModule | None, trainer: Trainer, checkpoint: str = "unknown"
    ) -> None:
        if not isinstance(model, Task) or not isinstance(data, LabeledDataModule) or data.modality not in VALIDATE:
            raise ConfigError(
                f"`make demo` requires a Task with image or text inputs, but the model is {type(model).__name__}. Use "
                "`make predict`."
            )
        validate_dataset(data)
        self.model, self.data, self.trainer, self.checkpoint = model, data, trainer, checkpoint
        self.modality, self.max_bytes = data.modality, get_max_bytes(data.modality)
        data.num_workers = 0  # starting a process for one input would take longer than the prediction
        self.predict(make_sample(self.modality))  # the first prediction is slow, and errors are reported here
        # Called in each prediction. It has downloaded what it needs.
        vars(data)["prepare_data"] = do_nothing

    def predict(self, content: bytes) -> dict[str, Any]:
        """Return what the page shows about an image file or a UTF-8 text. See `format_prediction`.

        Raises:
            InputError: If it cannot be read.
        """
        value = VALIDATE[self.modality](content)
        self.data.datasets["predict"] = self.data.make_predict_dataset([value])  # type: ignore[attr-defined]
        batches: Any = self.trainer.predict(self.model, self.data)
        predictions = {name: tensor.cpu() for name, tensor in batches[0].items()}
        if int(predictions["ids"][0]) < 0:
            raise InputError(self.find_reason(value))
        return format_prediction(self.model, predictions)

    def find_reason(self, content: bytes) -> str:
        """Return why an image cannot be decoded."""
        try:
            decode_image_crop(content, 1, get_center_crop_box)
        except Exception as error:  # decoders raise many kinds for a corrupt file
            return describe_unreadable(content, error)
        return "The file cannot be read as an image."

    def describe(self) -> dict[str, str]:
        """Return what the page shows about the model."""
        device = self.trainer.strategy.root_device
        return {
            "model": type(self.model).__name__,
            "checkpoint": self.checkpoint,
            "device": str(device),
            "precision": str(self.trainer.precision),
        }


def do_nothing() -> None:
    """Do nothing."""


def validate_dataset(data: LabeledDataModule) -> None:
    """Check that a dataset reads inputs in memory in the same way as files.

    Raises:
        ConfigError: If only the method that reads files is overridden.
    """
    owners = [
        next((base for base in type(data).__mro__ if name in vars(base)), None)
        for name in ("load_predict_inputs", "make_predict_dataset")
    ]
    if owners[0] is not owners[1]:
        raise ConfigError(
            f"{type(data).__name__} has its own load_predict_inputs, but not make_predict_dataset. Define it: it "
            "returns the dataset of a list of inputs in memory."
        )


def make_sample(modality: str) -> bytes:
    """Return an input of a modality."""
    if modality == "text":
        return b"text"
    file = BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    return file.getvalue()


def format_prediction(model: Task, predictions: dict[str, Tensor]) -> dict[str, Any]:
    """Return what the page shows.

    Args:
        model: The model.
        predictions: Result of `predict_step` for one input.

    Returns:
        "kind" and "rows": "classes" (probabilities sum to 1) and "labels" (independent probabilities) have a name and a
        value per row, the most probable ones first, and "total", their number before `MAX_ROWS`. "values" has a name
        and a text per column of the predictions.
    """
    if isinstance(model, Classifier | MultiLabelClassifier):
        names = model.class_names if isinstance(model, Classifier) else model.label_names
        kind = "classes" if isinstance(model, Classifier) else "labels"
        values, order = torch.sort(predictions["probabilities"][0], descending=True, stable=True)
        ranked = zip(order.tolist(), values.tolist(), strict=True)
        rows = [{"name": str(names[index]), "value": value} for index, value in ranked]
        return {"kind": kind, "rows": rows[:MAX_ROWS], "total": len(rows)}
    columns = model.format_predictions(predictions)[0]
    if isinstance(model, Regressor):
        columns = {model.target_name: columns[model.target_name]}
    return {"kind": "values", "rows": [{"name": name, "value": value} for name, value in columns.items()]}
