"""The header and the results of a run, printed and written to run.json."""

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
def record_and_print_header(
    cfg: DictConfig,
    model: Classifier,
    data: ClassificationDataModule,
    trainer: Trainer,
    record: RunRecord | WorkerRunRecord,
) -> None:
    """Print model, data, device and loggers of a run, and write them to run.json."""
    total = sum(param.numel() for param in model.parameters())
    trainable = sum(param.numel() for param in model.parameters() if param.requires_grad)
    sizes = {name: len(dataset) for name, dataset in data.datasets.items()}  # type: ignore[arg-type]
    device = str(trainer.strategy.root_device)
    built = [logger for logger in trainer.loggers if not isinstance(logger, MetricsCSVLogger)]
    loggers = dict(zip([name for name, node in (cfg.logger or {}).items() if node], built, strict=True))
    record.update(
        device=device,
        devices=trainer.world_size,
        precision=str(trainer.precision),
        parameters={"total": total, "trainable": trainable},
        samples=sizes,
        loggers={name: getattr(logger, "run_info", {"path": logger.log_dir}) for name, logger in loggers.items()},
    )
    counts = " / ".join(f"{size:,} {name}" for name, size in sizes.items())
    lines = {
        "model": f"{type(model).__name__}, {total / 1e6:.1f} M parameters"
        + ("" if trainable == total else f" ({trainable / 1e6:.1f} M trainable)"),
        "data": f"{type(data).__name__}: {counts}, {len(data.class_names)} classes, batch size {data.batch_size}",
        "device": f"{device}, precision {trainer.precision}",
        **(describe_distributed_setup(cfg, model, data, trainer) if trainer.world_size > 1 else {}),
        "run_dir": str(record.run_dir),
    } | {name: str(logger) for name, logger in loggers.items()}
    print_fields(lines)
    if trainer.strategy.root_device.type == "mps":
        from firstlight.mps.dry_run import check_before_training

        print_fields({"mps": check_before_training(model, data, trainer)})


def describe_distributed_setup(
    cfg: DictConfig, model: Classifier, data: ClassificationDataModule, trainer: Trainer
) -> dict[str, str]:
    """Return the header lines about devices, global batch size and learning rate of a distributed run."""
    devices, device_type, rule = trainer.world_size, trainer.strategy.root_device.type, cfg.trainer.get("scale_lr")
    per_device = data.batch_size * trainer.accumulate_grad_batches
    scaling = f"scaled with {rule}" if rule else "not scaled"
    return {
        "device": f"{devices} x {device_type} with {cfg.trainer.strategy}, precision {trainer.precision}",
        "step": f"global batch {per_device * devices} ({per_device} per device), "
        f"lr {model.optimizer_config['lr']:.4g} ({scaling})",
    }


@rank_zero_only
def record_and_print_results(record: RunRecord | WorkerRunRecord, metrics: dict[str, float]) -> None:
    """Print the test metrics and the next commands, and write the metrics to run.json."""
    record.update(metrics={**record.fields["metrics"], **metrics}, checkpoints=list_checkpoints(record.run_dir))
    print_fields({name: f"{value:.4f}" for name, value in metrics.items() if name.startswith("test/")})
    print_fields({"next": f"make evaluate run={record.run_dir}"})
    for logger in record.fields["loggers"].values():
        if logger.get("mode") == "offline":
            print_fields({"": f"make wandb-sync runs={record.run_dir}"})


def read_latest_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the latest metrics of a trainer as floats, sorted by name."""
    return {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
