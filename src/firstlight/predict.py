"""Run inference:  python -m firstlight.predict run=logs/train/<run> input=photos/ output=predictions.csv"""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.options import AUTO
from firstlight.config.validate import validate_config
from firstlight.data.predict_inputs import find_input_paths
from firstlight.run.errors import ConfigError, DataError, describe_error, invalid_value
from firstlight.run.evaluation import open_evaluation
from firstlight.run.files import to_plain_dict, write_atomically
from firstlight.run.json_output import is_json_requested
from firstlight.run.output_path import is_stream, join_names, read_first_line, validate_output_file

if TYPE_CHECKING:
    from firstlight.data.datamodule import LabeledDataModule
    from firstlight.model.task import Task
    from firstlight.trainer.trainer import Trainer

# Formats of the predictions of a `Task`, and of any other module.
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
TENSOR_SUFFIXES = (".pt",)


@command("predict")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Write the prediction for each input.

    A `Task` predicts the inputs of `input=`. Any other module predicts the `predict_dataloader` of its data.

    Returns:
        The file, the checkpoint, the number of predictions (of batches, if a module predicts its own dataloader), and
        the inputs that could not be read.
    """
    validate_config(cfg)
    inputs = [] if cfg.input is None else find_input_paths(cfg.input)
    output = validate_output(cfg, inputs)
    from firstlight.build import build
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.cli import console
    from firstlight.data.datamodule import LabeledDataModule
    from firstlight.model.task import Task

    checkpoint = resolve_checkpoint(cfg)
    with ExitStack() as stack:
        record = stack.enter_context(open_evaluation(cfg, checkpoint)) if output is None else None
        if output is not None and is_stream(output):
            stack.enter_context(redirect_stdout(sys.stderr))  # stdout may be the output
        model, data, trainer = build(cfg, checkpoint, read_data=False)
        is_task = isinstance(data, LabeledDataModule) and isinstance(model, Task)
        suffixes = TABLE_SUFFIXES if is_task else TENSOR_SUFFIXES
        path = output or Path(cfg.output_dir) / f"predictions{suffixes[0]}"
        validate_suffix(path, suffixes, type(model).__name__)
        if is_task:
            count, unreadable = predict_inputs(cfg, path, model, data, trainer)  # type: ignore[arg-type]
            read = f"{count} of {count + len(unreadable)} inputs"
        else:
            count, unreadable = predict_dataloader(cfg, path, model, data, trainer), []
            read = f"{count} batches"
        if record is not None:
            record.write(input=to_plain_dict(cfg)["input"], samples=count)
        console.print_fields({"checkpoint": checkpoint, "read": read, "written": str(path)})
    return {"output": str(path), "checkpoint": checkpoint, "num_predictions": count, "unreadable": unreadable}


def validate_output(cfg: DictConfig, inputs: list[Path]) -> Path | None:
    """Return the path of `output=`, or None if the predictions get a directory of their own.

    Raises:
        ConfigError: If the file cannot be written, or is a file of another program.
    """
    if cfg.output == AUTO:
        return None
    if cfg.output_dir != AUTO:
        raise ConfigError(f"output_dir={cfg.output_dir} has no effect with output=. Remove one of them.")
    if is_json_requested() and cfg.output != "/dev/null" and is_stream(Path(str(cfg.output))):
        raise ConfigError(f"output={cfg.output} cannot be combined with json=true. Use e.g. output=predictions.csv.")
    used = [Path(value) for value in iter_strings(to_plain_dict(cfg)) if os.path.isfile(value)]
    path = validate_output_file(cfg.output, (*TABLE_SUFFIXES, *TENSOR_SUFFIXES), [*inputs, *used], is_predictions_file)
    cfg.output_dir = str(path.parent)
    return path


def iter_strings(value: Any) -> Iterator[str]:
    """Yield the strings in a config, except the output itself."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        items = [item for name, item in value.items() if name != "output"] if isinstance(value, dict) else value
        for item in items:
            yield from iter_strings(item)


def is_predictions_file(path: Path) -> bool:
    """Return True if a file has the columns of predictions, and may therefore be replaced.

    The columns of a regression, the ID and the target, are also those of common datasets: such a file is kept.
    """
    line = read_first_line(path)
    try:
        if path.suffix.lower() == ".jsonl":
            columns = list(json.loads(line))
        else:
            columns = next(csv.reader([line], delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except (ValueError, TypeError, StopIteration, csv.Error):
        return False
    return columns == ["id", "label", "probability"] or (columns[:2] == ["id", "labels"] and len(columns) > 2)


def validate_suffix(path: Path, suffixes: tuple[str, ...], name: str) -> None:
    """Check that the predictions of a model can be written in the format of a file. A device has no format.

    Raises:
        ConfigError: If they cannot.
    """
    if path.suffix.lower() not in suffixes and not is_stream(path):
        fix = f"Use e.g. output={path.with_suffix(suffixes[0])}."
        expected = f"a file name ending in {join_names(suffixes)} for the predictions of {name}"
        raise ConfigError(invalid_value("output", str(path), expected, fix))


def predict_inputs(
    cfg: DictConfig, path: Path, model: "Task", data: "LabeledDataModule", trainer: "Trainer"
) -> tuple[int, list[str]]:
    """Write the prediction for each input to a file, and report unreadable inputs.

    Returns:
        The number of predictions, and the unreadable inputs.

    Raises:
        ConfigError: If no input is given.
        DataError: If no input can be read.
    """
    from firstlight.callbacks.prediction_writer import PredictionWriter

    if cfg.input is None:
        raise ConfigError("No input given. Pass input=<image directory> or input=<text file>.")
    if cfg.text_column and hasattr(data, "text_column"):
        data.text_column = cfg.text_column
    names = data.set_predict_inputs(to_plain_dict(cfg)["input"])
    writer = PredictionWriter(path, names)
    trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    try:
        trainer.predict(model, data, return_predictions=False)
    except BaseException:
        if writer.written:
            print(f"predict: wrote {len(writer.written)} of {len(names)} predictions to {path}", file=sys.stderr)
        raise
    finally:
        writer.close()
    unreadable = [name for index, name in enumerate(names) if index not in writer.written]
    for name in unreadable:
        print(f"predict: {data.get_read_error(name)}", file=sys.stderr)
    if not writer.written:
        raise DataError(f"Cannot read any of the {len(names)} inputs in {cfg.input}. Repair the inputs listed above.")
    return len(writer.written), unreadable


def predict_dataloader(cfg: DictConfig, path: Path, model: Any, data: Any, trainer: "Trainer") -> int:
    """Save what `predict_step` returns for each batch with torch.save. If a batch fails, the others are saved.

    Returns:
        The number of batches.

    Raises:
        ConfigError: If an input is given, or there is no predict_dataloader.
        DataError: If `predict_step` fails.
    """
    import torch

    from firstlight.callbacks.prediction_writer import BatchCollector
    from firstlight.trainer.loops import find_missing_hooks

    name = type(model).__name__
    if cfg.input is not None:
        raise ConfigError(f"input= is only for tasks of the engine. {name} predicts its predict_dataloader.")
    if find_missing_hooks(model, data, "predict"):
        raise ConfigError(f"Cannot predict: {name} and its data have no predict_dataloader. Define one.")
    collector = BatchCollector()
    trainer.callbacks.append(collector)  # type: ignore[attr-defined]
    try:
        trainer.predict(model, data, return_predictions=False)
    except (TypeError, AttributeError, KeyError, IndexError, ValueError) as error:
        raise DataError(
            f"predict_step of {name} failed with {describe_error(error)}. It must accept a batch of "
            "predict_dataloader; by default, it calls forward with the batch."
        ) from error
    finally:
        batches = collector.get_results()
        if any(collector.batches):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, partial(torch.save, batches))
    return len(batches)


if __name__ == "__main__":
    main()
