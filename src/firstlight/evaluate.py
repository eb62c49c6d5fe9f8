"""Measure a trained model again:  python -m firstlight.evaluate run=logs/train/<run>"""

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config


@command("evaluate")
def main(cfg: DictConfig) -> dict[str, float]:
    """Test the checkpoint of a run, and return the metrics."""
    validate_config(cfg)
    if cfg.split not in ("train", "val", "test"):
        raise ValueError(f"split is train, val or test, but split={cfg.split}")
    if "augment" in cfg.data:
        cfg.data.augment = False  # or split=train would measure altered images
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
    # All digits: the figures of the training are repeated to the last one.
    console.print_fields({name: repr(value) for name, value in metrics.items()})
    return metrics


if __name__ == "__main__":
    main()
