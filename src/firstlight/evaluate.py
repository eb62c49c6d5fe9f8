"""Evaluate a trained model:  python -m firstlight.evaluate run=logs/train/<run>"""

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, invalid_value


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
    from firstlight.trainer.loops import find_missing_hooks

    checkpoint = resolve_checkpoint(cfg)
    model, data, trainer = build(cfg, checkpoint)
    console.print_fields(
        {"checkpoint": checkpoint, "device": f"{trainer.strategy.root_device}, precision {trainer.precision}"}
    )
    if isinstance(data, LabeledDataModule):
        # The test loop on any split of the dataset.
        loop, data.datasets["test"] = "test", data.datasets[cfg.split]
    elif cfg.split == "train":
        raise ConfigError(f"split=train is not available for {type(data).__name__}. Use split=val or split=test.")
    else:
        loop = {"val": "validation", "test": "test"}[cfg.split]
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
    console.print_fields({name: repr(value) for name, value in metrics.items()})
    return metrics


if __name__ == "__main__":
    main()
