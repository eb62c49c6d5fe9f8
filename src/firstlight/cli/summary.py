"""The header and the results of a run, printed and written to run.json."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig, OmegaConf
from torch.nn.parameter import is_lazy

from firstlight.cli.console import print_fields
from firstlight.config.path_overrides import PATH_KEY
from firstlight.data.datamodule import LabeledDataModule
from firstlight.hardware.apple_chip import describe_mac
from firstlight.logger.optional import describe_logger
from firstlight.model.classifier import Classifier
from firstlight.model.optimizer import has_own_optimizers
from firstlight.model.parameter_groups import describe_layer_rates
from firstlight.model.task import Task
from firstlight.run.files import BEST_CHECKPOINT_FILE, list_checkpoints, read_json_or_empty, to_plain_dict
from firstlight.run.record import RunRecord, WorkerRunRecord
from firstlight.run.text import format_command, format_override, format_printable
from firstlight.trainer.steps import list_accumulated_batches
from firstlight.trainer.trainer import Trainer


@rank_zero_only
def record_and_print_header(
    cfg: DictConfig,
    model: LightningModule,
    data: LightningDataModule | None,
    trainer: Trainer,
    record: RunRecord | WorkerRunRecord,
    measured_lines: dict[str, str] | None = None,
) -> None:
    """Print model, data, device and loggers of a run, and which features are off; write them to run.json."""
    total, trainable = count_parameters(model)
    sizes = count_split_sizes(data)
    device = str(trainer.strategy.root_device)
    loggers = {logger.config_name: logger for logger in trainer.loggers if hasattr(logger, "config_name")}
    record.update(
        device=device,
        devices=trainer.world_size,
        precision=str(trainer.precision),
        parameters={"total": total, "trainable": trainable},
        samples=sizes,
        split_digests=data.splitter.digests if isinstance(data, LabeledDataModule) else {},
        loggers={name: getattr(logger, "run_info", {"path": logger.log_dir}) for name, logger in loggers.items()},
    )
    hide_unused_optimizer(cfg, model, record)
    fields = {
        "model": f"{type(model).__name__}, {total / 1e6:.1f} M parameters"
        + ("" if trainable == total else f" ({trainable / 1e6:.1f} M trainable)"),
        "data": describe_data(data, sizes),
        "device": ", ".join(filter(None, (device, describe_chip(device), f"precision {trainer.precision}"))),
        **(describe_distributed_setup(cfg, model, data, trainer) if trainer.world_size > 1 else {}),
        **(describe_layers(model) | describe_adapters(cfg)),
        **describe_inactive_features(model, trainer),
        **(measured_lines or {}),
        "run_dir": str(record.run_dir),
    }
    print_fields(fields | {name: describe_logger(logger) for name, logger in loggers.items()})
    if trainer.strategy.root_device.type == "mps":
        from firstlight.mps.dry_run import check_before_training

        print_fields({"mps": check_before_training(model, data, trainer)})


def describe_chip(device: str) -> str:
    """Return the chip and the system of a Mac, which decide the defaults of MPS; "" for other devices."""
    return describe_mac() if device.startswith("mps") else ""


def count_parameters(model: LightningModule) -> tuple[int, int]:
    """Return the numbers of all and of trainable parameters; lazy ones have no size before the first step."""
    params = [param for param in model.parameters() if not is_lazy(param)]
    return sum(param.numel() for param in params), sum(param.numel() for param in params if param.requires_grad)


def hide_unused_optimizer(cfg: DictConfig, model: LightningModule, record: RunRecord | WorkerRunRecord) -> None:
    """Store null for optimizer and scheduler if the module has its own: the report must not show the config's."""
    if has_own_optimizers(model):
        cfg.optimizer = cfg.scheduler = None
        record.write_config(cfg)


def count_split_sizes(data: LightningDataModule | None) -> dict[str, int]:
    """Return the number of samples of each split of a labeled dataset; {} for any other."""
    datasets: Any = data.datasets if isinstance(data, LabeledDataModule) else {}
    return {name: len(dataset) for name, dataset in datasets.items()}


def describe_data(data: LightningDataModule | None, sizes: dict[str, int], cfg: DictConfig | None = None) -> str:
    """Return the header line of the data: its class, sizes, classes and batch size, as far as they are known.

    Args:
        data: The datamodule; None: the module has the dataloaders.
        sizes: See `count_split_sizes`.
        cfg: Config of the data. If given, the line ends with its paths, or the name of a dataset of the Hub.
    """
    if data is None:
        return "dataloaders of the model"
    counts = " / ".join(f"{size:,} {name}" for name, size in sizes.items())
    class_names = batch_size = None
    with suppress(Exception):  # properties of a datamodule may need its setup
        class_names, batch_size = getattr(data, "class_names", None), getattr(data, "batch_size", None)
    labels: dict[str, Any] = data.label_metadata if isinstance(data, LabeledDataModule) else {}
    details = [
        *([counts] if counts else []),
        *([f"{len(class_names)} classes"] if isinstance(class_names, list) and class_names else []),
        *([f"{len(labels['label_names'])} labels"] if "label_names" in labels else []),
        *([f"target {labels['target_name']}"] if "target_name" in labels else []),
        *([f"batch size {batch_size}"] if isinstance(batch_size, int) else []),
        *(
            f"{key}={format_printable(value)}"
            for key, value in (to_plain_dict(cfg) if cfg else {}).items()
            if isinstance(value, str) and (PATH_KEY.fullmatch(key) or key == "dataset_name")
        ),
    ]
    return f"{type(data).__name__}: {', '.join(details)}" if details else type(data).__name__


def describe_inactive_features(model: LightningModule, trainer: Trainer) -> dict[str, str]:
    """Return the header lines about features that a module does not support, and why."""
    lines = {}
    if has_own_optimizers(model):
        lines["optimizer"] = f"configure_optimizers of {type(model).__name__}; the config groups are not used"
    if not model.automatic_optimization and not trainer.gradient_clip_val:
        lines["clipping"] = "off: the module optimizes manually"
    if not isinstance(model, Classifier):
        lines["off"] = "confusion matrix and prediction samples (only for a Classifier)"
    if not isinstance(model, Task):
        lines["speed"] = "no torch.compile, no channels_last: try trainer.compile=true and trainer.channels_last=true"
    missing = [name for name in ("validation_step", "test_step") if not is_overridden(name, model)]
    if missing:
        lines["skipped"] = f"{' and '.join(missing)}: not defined by {type(model).__name__}"
    return lines


def describe_layers(model: LightningModule) -> dict[str, str]:
    """Return the header line about the learning rates of the layers, if the optimizer's config has a layer_decay."""
    config = getattr(model, "optimizer_config", {})
    return {"layers": describe_layer_rates(model, config)} if config.get("layer_decay") is not None else {}


def describe_adapters(cfg: DictConfig) -> dict[str, str]:
    """Return the header line about LoRA adapters of a network that has no pretrained weights; {} otherwise."""
    has_weights = cfg.model.get("weights") or OmegaConf.select(cfg, "init_from.path") or cfg.get("resume")
    if cfg.model.get("lora_rank") is None or has_weights:
        return {}
    return {"lora": "the weights are random, and only adapters and head are trained. Set model.weights or init_from"}


def describe_distributed_setup(
    cfg: DictConfig, model: LightningModule, data: LightningDataModule | None, trainer: Trainer
) -> dict[str, str]:
    """Return the header lines about devices, global batch size and learning rate of a distributed run."""
    devices, device_type, rule = trainer.world_size, trainer.strategy.root_device.type, cfg.trainer.get("scale_lr")
    batch_size: Any = getattr(data, "batch_size", None)
    parts = []
    if isinstance(batch_size, int):
        per_device = [batch_size * count for count in list_accumulated_batches(trainer)]
        per_step = ", then ".join(str(size * devices) for size in per_device)
        parts.append(f"global batch {per_step} ({', then '.join(map(str, per_device))} per device)")
    lr = getattr(model, "optimizer_config", {}).get("lr")
    if lr is not None:
        parts.append(f"lr {lr:.4g} ({f'scaled with {rule}' if rule else 'not scaled'})")
    lines = {"device": f"{devices} x {device_type} with {cfg.trainer.strategy}, precision {trainer.precision}"}
    return lines | ({"step": ", ".join(parts)} if parts else {})


@rank_zero_only
def record_and_print_results(
    record: RunRecord | WorkerRunRecord, metrics: dict[str, float], tested: dict[str, float]
) -> None:
    """Print the test metrics and the next commands, and write the metrics to run.json.

    Args:
        record: Record of the run.
        metrics: All metrics of the run.
        tested: The metrics of the test.
    """
    # A resumed run keeps the earlier metrics; `tested` says whether the test metrics are new.
    kept = {**record.fields["metrics"], **metrics}
    record.update(metrics=kept, tested=bool(tested), checkpoints=list_checkpoints(record.run_dir))
    print_fields({name: f"{value:.4f}" for name, value in tested.items()})
    # A module without a test has nothing to evaluate.
    command, key = ("evaluate", "run") if tested else ("report", "runs")
    print_fields({"next": format_command("make", command, format_override(key, record.run_dir))})
    for logger in record.fields["loggers"].values():
        if logger.get("mode") == "offline":
            print_fields({"": format_command("make", "wandb-sync", format_override("runs", record.run_dir))})


def read_latest_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the latest metrics of a trainer as floats, sorted by name."""
    return {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}


def read_final_metrics(trainer: Trainer, run_dir: Path) -> dict[str, float]:
    """Return the metrics of a training run: its validation metrics belong to the best checkpoint, if there is one.

    Args:
        trainer: The trainer after `fit`.
        run_dir: The run directory.
    """
    best: dict[str, float] = read_json_or_empty(run_dir / BEST_CHECKPOINT_FILE).get("metrics", {})
    return read_latest_metrics(trainer) | best
