"""Evaluate a trained model:  python -m firstlight.evaluate run=logs/train/<run>"""

from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, DataError, invalid_value


@command("evaluate")
def main(cfg: DictConfig) -> dict[str, float]:
    """Evaluate a checkpoint on a split of its dataset, and return the metrics."""
    validate_config(cfg)
    if cfg.split not in ("train", "val", "test"):
        raise ConfigError(invalid_value("split", cfg.split, "train, val or test", "Use e.g. split=test."))
    if cfg.data and "augment" in cfg.data:
        cfg.data.augment = False  # split=train must not measure augmented images
    from firstlight.build import build
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.cli import console, summary
    from firstlight.data.datamodule import LabeledDataModule
    from firstlight.trainer.loops import describe_evaluated_samples, find_missing_hooks

    checkpoint = resolve_checkpoint(cfg)
    model, data, trainer = build(cfg, checkpoint)
    console.print_fields(
        {"checkpoint": checkpoint, "device": f"{trainer.strategy.root_device}, precision {trainer.precision}"}
    )
    loop = select_split(cfg.split, data)
    if missing := find_missing_hooks(model, data, loop):
        other = {"test": "val", "validation": "test"}[loop]
        raise ConfigError(
            f"Cannot evaluate split={cfg.split}: {type(model).__name__} has no {' and no '.join(missing)}. Define "
            f"it, or use split={other}."
        )
    (trainer.test if loop == "test" else trainer.validate)(model, data, verbose=False)
    metrics = summary.read_latest_metrics(trainer)
    if isinstance(data, LabeledDataModule):
        metrics = {name.replace("test/", f"{cfg.split}/"): value for name, value in metrics.items()}
    # All digits, because the metrics of the training run are reproduced exactly.
    samples = f"{describe_evaluated_samples(trainer, loop)} ({cfg.split})"
    console.print_fields({"samples": samples} | {name: repr(value) for name, value in metrics.items()})
    return metrics


def select_split(split: str, data: Any) -> str:
    """Return the loop that evaluates a split. The test loop evaluates each split of a dataset of the engine.

    Raises:
        ConfigError: If only the test or the validation loop can be used.
        DataError: If the split is empty.
    """
    from firstlight.data.datamodule import LabeledDataModule

    if not isinstance(data, LabeledDataModule):
        if split == "train":
            raise ConfigError(f"split=train is not available for {type(data).__name__}. Use split=val or split=test.")
        return {"val": "validation", "test": "test"}[split]
    data.datasets["test"] = data.datasets[split]
    if not len(data.datasets["test"]):  # type: ignore[arg-type]
        raise DataError(f"The {split} split of {type(data).__name__} is empty. Use another split, or add samples.")
    return "test"


if __name__ == "__main__":
    main()
