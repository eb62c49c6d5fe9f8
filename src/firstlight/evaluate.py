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
    if "augment" in cfg.data:
        cfg.data.augment = False  # split=train must not measure augmented images
    from firstlight.build import build
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.cli import console, summary

    checkpoint = resolve_checkpoint(cfg)
    model, data, trainer = build(cfg, checkpoint)
    console.print_fields(
        {"checkpoint": checkpoint, "device": f"{trainer.strategy.root_device}, precision {trainer.precision}"}
    )
    if cfg.split != "test":
        data.datasets["test"] = data.datasets[cfg.split]
    trainer.test(model, data, verbose=False)
    metrics = {
        name.replace("test/", f"{cfg.split}/"): value for name, value in summary.read_latest_metrics(trainer).items()
    }
    # All digits, because the metrics of the training run are reproduced exactly.
    console.print_fields({name: repr(value) for name, value in metrics.items()})
    return metrics


if __name__ == "__main__":
    main()
