"""Evaluate a trained model:  python -m firstlight.evaluate run=logs/train/<run>"""

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, DataError, invalid_value

if TYPE_CHECKING:
    import numpy as np
    from lightning.pytorch import LightningDataModule, LightningModule

    from firstlight.trainer.trainer import Trainer


@command("evaluate")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate a checkpoint on a split of its dataset.

    Returns:
        The directory of the results, the checkpoint, the split, its number of samples if it is known, the metrics, and
        the confidence interval of each metric that has one.
    """
    validate_config(cfg)
    if cfg.split not in ("train", "val", "test"):
        raise ConfigError(invalid_value("split", cfg.split, "train, val or test", "Use e.g. split=test."))
    for key, off in {"augment": False, "rand_augment": None}.items():
        if cfg.data and key in cfg.data:
            cfg.data[key] = off  # split=train must not measure augmented images
    from firstlight.build import build
    from firstlight.callbacks.evaluated_outputs import EvaluatedOutputs
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.cli import console, summary
    from firstlight.run.evaluation import open_evaluation
    from firstlight.trainer.loops import count_evaluated_samples

    checkpoint = resolve_checkpoint(cfg)
    with open_evaluation(cfg, checkpoint) as record:
        model, data, trainer = build(cfg, checkpoint)
        data_line = summary.describe_data(data, summary.count_split_sizes(data), cfg.data)
        device = f"{trainer.strategy.root_device}, precision {trainer.precision}"
        console.print_fields({"checkpoint": checkpoint, "data": data_line, "device": device})
        loop = select_loop(cfg.split, model, data)
        outputs = EvaluatedOutputs()
        trainer.callbacks.append(outputs)  # type: ignore[attr-defined]
        metrics = run_loop(cfg.split, loop, model, data, trainer)
        found, line = outputs.compute_intervals(model, get_groups(data, cfg.split))
        intervals = {name: list(found[key]) for name in metrics if (key := name.partition("/")[2]) in found}
        counts = count_evaluated_samples(trainer, loop)
        results = {"split": cfg.split, "samples": counts and counts[0], "metrics": metrics, "intervals": intervals}
        record.write(**results, total_samples=counts and counts[1])
    samples = format_counts(counts, cfg.split)
    console.print_fields({"samples": samples, **format_metrics(metrics, intervals), "intervals": line})
    console.print_fields({"written": str(record.directory)})
    return {"output_dir": str(record.directory), "checkpoint": checkpoint, **results}


def select_loop(split: str, model: "LightningModule", data: "LightningDataModule | None") -> str:
    """Return the loop that measures a split: "test" or "validation". A labeled dataset has a test loop on any split.

    Raises:
        ConfigError: If the model or its data do not support the split.
    """
    from firstlight.data.datamodule import LabeledDataModule
    from firstlight.trainer.loops import find_missing_hooks

    if isinstance(data, LabeledDataModule):
        loop, data.datasets["test"] = "test", data.datasets[split]
        if not len(data.datasets["test"]):  # type: ignore[arg-type]
            raise DataError(f"The {split} split of {type(data).__name__} is empty. Use another split, or add samples.")
    elif split == "train":
        raise ConfigError(f"split=train is not available for {type(data).__name__}. Use split=val or split=test.")
    else:
        loop = {"val": "validation", "test": "test"}[split]
    if missing := find_missing_hooks(model, data, loop):
        other = {"test": "val", "validation": "test"}[loop]
        raise ConfigError(
            f"Cannot evaluate split={split}: {type(model).__name__} has no {' and no '.join(missing)}. Define it, or "
            f"use split={other}."
        )
    return loop


def run_loop(
    split: str, loop: str, model: "LightningModule", data: "LightningDataModule | None", trainer: "Trainer"
) -> dict[str, float]:
    """Run a loop, and return its metrics with the name of the split."""
    from firstlight.cli import summary
    from firstlight.data.datamodule import LabeledDataModule

    (trainer.test if loop == "test" else trainer.validate)(model, data, verbose=False)
    metrics = summary.read_latest_metrics(trainer)
    if isinstance(data, LabeledDataModule):
        return {name.replace("test/", f"{split}/"): value for name, value in metrics.items()}
    return metrics


def format_metrics(metrics: dict[str, float], intervals: dict[str, list[float]]) -> dict[str, str]:
    """Return the lines of the metrics with their intervals."""
    # All digits, because the metrics of the training run are reproduced exactly.
    ranges = {name: f" ({low:.4g} to {high:.4g})" for name, (low, high) in intervals.items()}
    return {name: f"{value!r}{ranges.get(name, '')}" for name, value in metrics.items()}


def format_counts(counts: tuple[int, int] | None, split: str) -> str:
    """Return how many samples were evaluated, such as "60 (test)" or "8 of 60 (test)"; "unknown" for a stream."""
    if counts is None:
        return f"unknown ({split})"
    num_samples, total = counts
    return f"{total:,} ({split})" if num_samples == total else f"{num_samples:,} of {total:,} ({split})"


def get_groups(data: Any, split: str) -> "np.ndarray | None":
    """Return a number per group for each sample of a split; None if its samples are not grouped."""
    from firstlight.data.datamodule import LabeledDataModule

    return data.splitter.groups.get(split) if isinstance(data, LabeledDataModule) else None


if __name__ == "__main__":
    main()
