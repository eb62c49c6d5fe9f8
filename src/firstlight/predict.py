"""Run inference:  python -m firstlight.predict run=logs/train/<run> input=photos/ output=predictions.csv"""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, DataError
from firstlight.run.files import write_atomically
from firstlight.run.text import format_csv

if TYPE_CHECKING:
    from firstlight.data.datamodule import LabeledDataModule
    from firstlight.model.task import Task
    from firstlight.trainer.trainer import Trainer


@command("predict")
def main(cfg: DictConfig) -> int:
    """Write the prediction for each input, and return the number of predictions.

    A `Task` predicts the inputs of `input=`. Any other module predicts the `predict_dataloader` of its data.
    """
    validate_config(cfg)
    from firstlight.build import build
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.data.datamodule import LabeledDataModule
    from firstlight.model.task import Task

    checkpoint = resolve_checkpoint(cfg)
    model, data, trainer = build(cfg, checkpoint, read_data=False)
    if isinstance(data, LabeledDataModule) and isinstance(model, Task):
        return predict_inputs(cfg, checkpoint, model, data, trainer)
    return predict_dataloader(cfg, checkpoint, model, data, trainer)


def predict_inputs(
    cfg: DictConfig, checkpoint: str, model: "Task", data: "LabeledDataModule", trainer: "Trainer"
) -> int:
    """Write the prediction for each input, report unreadable inputs, and return the number of predictions."""
    from firstlight.cli import console

    if cfg.input is None:
        raise ConfigError("No input given. Pass input=<image directory> or input=<text file>.")
    if cfg.text_column and hasattr(data, "text_column"):
        data.text_column = cfg.text_column
    names = data.set_predict_inputs(cfg.input)
    rows: dict[int, dict[str, str]] = {}
    batches: list[Any] = trainer.predict(model, data) or []
    for batch in batches:
        rows |= zip(batch["ids"].tolist(), model.format_predictions(batch), strict=True)
    columns = ["id", *next(iter(rows.values()), {})]
    unreadable = [name for index, name in enumerate(names) if index not in rows]
    for name in unreadable:
        print(f"predict: {data.get_read_error(name)}", file=sys.stderr)
    output = Path(cfg.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    lines = [columns, *([names[index], *rows[index].values()] for index in sorted(set(rows) - {-1}))]
    write_atomically(output, format_csv(lines))
    if len(unreadable) == len(names):
        raise DataError(f"Cannot read any of the {len(names)} inputs in {cfg.input}. Repair the inputs listed above.")
    written = len(names) - len(unreadable)
    console.print_fields(
        {"checkpoint": checkpoint, "read": f"{written} of {len(names)} inputs", "written": str(output)}
    )
    return written


def predict_dataloader(cfg: DictConfig, checkpoint: str, model: Any, data: Any, trainer: "Trainer") -> int:
    """Save what `predict_step` returns for each batch with torch.save, and return the number of batches.

    Raises:
        ConfigError: If an input is given, or there is no predict_dataloader.
        DataError: If `predict_step` fails.
    """
    import torch

    from firstlight.cli import console
    from firstlight.trainer.loops import find_missing_hooks

    name = type(model).__name__
    if cfg.input is not None:
        raise ConfigError(f"input= is only for tasks of the engine. {name} predicts its predict_dataloader.")
    if find_missing_hooks(model, data, "predict"):
        raise ConfigError(f"Cannot predict: {name} and its data have no predict_dataloader. Define one.")
    output = Path(cfg.output)
    if output.suffix == ".csv":
        output = output.with_suffix(".pt")
    try:
        batches: list[Any] = trainer.predict(model, data) or []
    except (TypeError, AttributeError, KeyError, IndexError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"predict_step of {name} failed with {type(error).__name__}: {reason}. It must accept a batch of "
            "predict_dataloader; by default, it calls forward with the batch."
        ) from error
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, partial(torch.save, batches))
    console.print_fields({"checkpoint": checkpoint, "read": f"{len(batches)} batches", "written": str(output)})
    return len(batches)


if __name__ == "__main__":
    main()
