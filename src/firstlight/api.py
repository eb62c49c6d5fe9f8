"""Python API for notebooks and scripts: create an experiment, or load a trained run."""

import multiprocessing
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.build import build, connect_data
from firstlight.checkpoint.io import load_checkpoint
from firstlight.checkpoint.resolve import resolve_checkpoint
from firstlight.cli import summary
from firstlight.config.compose import compose_config
from firstlight.config.run_config import load_run_config
from firstlight.config.untrusted import select_run_config
from firstlight.config.validate import validate_config
from firstlight.model.load import allows_remote_code, build_datamodule, load_model, restore_split
from firstlight.run.containment import find_run_dir
from firstlight.run.errors import CheckpointError
from firstlight.run.files import list_checkpoints, to_plain_dict
from firstlight.run.lock import acquire_run_lock
from firstlight.run.output_path import validate_run_dir
from firstlight.run.record import RunRecord, make_initial_fields, record_run_lifecycle
from firstlight.trainer.trainer import Trainer
from firstlight.trial.resolve import resolve_measured_settings


@dataclass(frozen=True)
class LoadedRun:
    """A trained model with its datamodule and config.

    Attributes:
        model: The model with its weights, on the CPU, in eval mode.
        data: The datamodule of the training run, with the tokenizer of the model; None if the model has its own
            dataloaders. No data is loaded yet: a trainer does so, or `data.prepare_data()` and `data.setup("fit")`.
        config: Config of the training run.
    """

    model: LightningModule
    data: LightningDataModule | None
    config: DictConfig


@dataclass(frozen=True)
class Experiment:
    """A model, a datamodule and a trainer that are ready to train.

    Attributes:
        model: The model on the CPU, in training mode.
        data: The datamodule, with the tokenizer of the model; None if the model has its own dataloaders.
        trainer: `trainer.fit(model, data)` trains and creates the run directory `config.output_dir`.
        config: The composed config.
    """

    model: LightningModule
    data: LightningDataModule | None
    trainer: Trainer
    config: DictConfig


def load(source: str | os.PathLike[str]) -> LoadedRun:
    """Load a trained model.

    Args:
        source: A run directory (its best checkpoint, otherwise its last one) or a checkpoint file.

    Raises:
        CheckpointError: If the run does not exist, has no checkpoint yet, or the checkpoint is corrupt.
    """
    path = Path(source)
    cfg = select_run_config(load_run_config(path), find_run_dir(path))
    validate_config(cfg)
    is_file = path.suffix == ".ckpt"
    checkpoint = resolve_checkpoint(OmegaConf.create({"run": str(path), "ckpt": str(path) if is_file else None}))
    settings = to_plain_dict(cfg)
    saved = load_checkpoint(checkpoint)
    model = load_model(saved, allows_remote_code(settings)).eval()
    data = build_datamodule(settings)
    restore_split(data, saved)
    connect_data(model, data)
    return LoadedRun(model, data, cfg)


def create(overrides: list[str] | None = None) -> Experiment:
    """Build model, datamodule and trainer as `make train` does, without a logger unless the overrides select one.

    Metrics and checkpoints are written to a new directory in logs/train, or to `output_dir=<directory>`. The directory
    is created when training starts, or by a logger.

    Args:
        overrides: Command-line overrides, such as ["model=bert", "data.batch_size=8"].

    Raises:
        UserError: If the config is invalid or cannot be built on this machine.
        SystemExit: If a DataLoader worker runs the script that starts it.
        HydraException: If an override cannot be parsed or its key does not exist.
    """
    require_main_guard()
    overrides = list(overrides or [])
    if not any(override.startswith(("logger=", "resume=")) for override in overrides):
        overrides.append("logger=none")  # building the W&B logger would already start a W&B run
    cfg = compose_config("train", overrides, hydra=True)
    HydraConfig.instance().set_config(cfg)  # the name of the run directory contains the selected options
    with open_dict(cfg):
        cfg.output_dir = str(cfg.output_dir)
        cfg.pop("hydra")
    try:
        validate_config(cfg)
        lines = resolve_measured_settings(cfg)
        model, data, trainer = build(cfg)
    finally:
        HydraConfig.instance().cfg = None
    trainer.callbacks.append(RunRecorder(cfg, overrides, lines))  # type: ignore[attr-defined]
    return Experiment(model, data, trainer, cfg)


def require_main_guard() -> None:
    """Exit with one line if a DataLoader worker runs the script that starts it.

    macOS starts workers with `spawn`, and Linux with `forkserver` from Python 3.14 on: each one imports the script, and
    would start a training run of its own.

    Raises:
        SystemExit: If this process is such a worker.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(
            "A DataLoader worker has imported your script, and must not run it. Put the code of the script under "
            "`if __name__ == '__main__':`, or use data.num_workers=0."
        )


class RunRecorder(Callback):
    """Callback that writes config.yaml and run.json for a training run started from Python."""

    def __init__(self, cfg: DictConfig, overrides: list[str], measured_lines: dict[str, str]) -> None:
        """Store the config, the overrides that it was composed from, and the header lines about measured settings."""
        self.cfg, self.overrides, self.measured_lines = cfg, overrides, measured_lines
        self.run_dir = Path(cfg.output_dir)
        self.record: RunRecord | None = None
        # Holds the lock of the run directory and the open record.
        self.exit_stack = ExitStack()

    def setup(self, trainer: Any, pl_module: LightningModule, stage: str) -> None:
        """Create the run directory.

        Raises:
            CheckpointError: If the directory already contains a run.
            ConfigError: If it contains files of another program.
        """
        if stage != "fit":
            return
        if self.record is None and (self.run_dir / "run.json").exists():
            raise CheckpointError(f"{self.run_dir} already contains a run. Pass output_dir=<new directory>.")
        if self.record is None:
            validate_run_dir(self.run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.exit_stack.enter_context(acquire_run_lock(self.run_dir))
        fields = {**make_initial_fields(self.cfg), "command": "firstlight.create", "overrides": self.overrides}
        self.record = RunRecord(self.run_dir, self.record.fields if self.record else fields, self.cfg)
        self.exit_stack.enter_context(record_run_lifecycle(self.record, self.cfg, fields))
        data: Any = trainer.datamodule
        summary.record_and_print_header(self.cfg, pl_module, data, trainer, self.record, self.measured_lines)

    def on_exception(self, trainer: Any, pl_module: LightningModule, exception: BaseException) -> None:
        """Record how the run failed."""
        self.exit_stack.__exit__(type(exception), exception, exception.__traceback__)

    def teardown(self, trainer: Any, pl_module: LightningModule, stage: str) -> None:
        """Record the metrics and checkpoints."""
        if self.record is not None:
            metrics = {**self.record.fields["metrics"], **summary.read_latest_metrics(trainer)}
            self.record.update(metrics=metrics, checkpoints=list_checkpoints(self.run_dir))
        self.exit_stack.close()
