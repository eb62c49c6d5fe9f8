"""What a command tells on the screen, and writes into run.json, at its start and its end."""

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from firstlight.cli.console import print_fields
from firstlight.data.datamodule import ClassificationDataModule
from firstlight.logger.metrics_csv import MetricsCSVLogger
from firstlight.model.classifier import Classifier
from firstlight.run.files import list_checkpoints
from firstlight.run.record import RunRecord, WorkerRunRecord
from firstlight.trainer.trainer import Trainer


@rank_zero_only
def print_run_header(
    cfg: DictConfig,
    model: Classifier,
    data: ClassificationDataModule,
    trainer: Trainer,
    record: RunRecord | WorkerRunRecord,
) -> None:
    """Tell the essentials of a run before its first step."""
    total = sum(each.numel() for each in model.parameters())
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    sizes = {name: len(dataset) for name, dataset in data.datasets.items()}  # type: ignore[arg-type]
    device = str(trainer.strategy.root_device)
    trackers = [each for each in trainer.loggers if not isinstance(each, MetricsCSVLogger)]
    loggers = dict(zip([name for name, node in (cfg.logger or {}).items() if node], trackers, strict=True))
    record.update(
        device=device,
        devices=trainer.world_size,
        precision=str(trainer.precision),
        parameters={"total": total, "trainable": trained},
        samples=sizes,
        loggers={name: getattr(logger, "run_info", {"path": logger.log_dir}) for name, logger in loggers.items()},
    )
    counts = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    lines = {
        "model": f"{type(model).__name__}, {total / 1e6:.1f} M parameters"
        + ("" if trained == total else f", {trained / 1e6:.1f} M of them trained"),
        "data": f"{type(data).__name__}, {counts} in {len(data.class_names)} classes, batches of {data.batch_size}",
        "device": f"{device}, precision {trainer.precision}",
        **(describe_distribution(cfg, model, data, trainer) if trainer.world_size > 1 else {}),
        "run": str(record.folder),
    } | {name: str(logger) for name, logger in loggers.items()}
    print_fields(lines)
    if trainer.strategy.root_device.type == "mps":
        from firstlight.mps.dry_run import check_before_training

        print_fields({"mps": check_before_training(model, data, trainer)})


def describe_distribution(
    cfg: DictConfig, model: Classifier, data: ClassificationDataModule, trainer: Trainer
) -> dict[str, str]:
    """Return what to tell of a training that several devices divide among them."""
    devices, kind, rule = trainer.world_size, trainer.strategy.root_device.type, cfg.trainer.get("scale_lr")
    each = data.batch_size * trainer.accumulate_grad_batches
    rate = f"lr {model.optimizer_settings['lr']:.4g}, " + (f"scaled by {rule}" if rule else "not scaled")
    return {
        "device": f"{devices} x {kind} by {cfg.trainer.strategy}, precision {trainer.precision}",
        "step": f"{each * devices} samples, {each} on each device, {rate}",
    }


@rank_zero_only
def print_results(record: RunRecord | WorkerRunRecord, figures: dict[str, float]) -> None:
    """Tell the results, and what can be done with them."""
    record.update(metrics={**record.fields["metrics"], **figures}, checkpoints=list_checkpoints(record.folder))
    print_fields({name: f"{value:.4f}" for name, value in figures.items() if name.startswith("test/")})
    print_fields({"next": f"make evaluate run={record.folder}"})
    for logger in record.fields["loggers"].values():
        if logger.get("mode") == "offline":
            print_fields({"": f"make wandb-sync runs={record.folder}"})


def read_latest_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the latest figures of a trainer as plain numbers."""
    return {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
