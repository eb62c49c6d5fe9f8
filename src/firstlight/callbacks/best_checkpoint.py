"""Save the checkpoint with the best validation metric, and record which file it is."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from firstlight.callbacks.averaged_weights import transfer_stochastic_average
from firstlight.callbacks.checkpoint_paths import confine_state
from firstlight.callbacks.loop_state import list_logged_names
from firstlight.checkpoint.io import load_checkpoint, verify_checkpoint
from firstlight.checkpoint.sharded import USE_ANOTHER_CHECKPOINT
from firstlight.config.options import AUTO
from firstlight.run.errors import CheckpointError, ConfigError
from firstlight.run.files import BEST_CHECKPOINT_FILE, read_json_or_empty, write_atomically
from firstlight.run.metrics import Mode, find_direction

# Metrics that `monitor: auto` takes if the module logs them, in this order.
PREFERRED_METRICS = ("val/accuracy", "val/loss", "val_loss")

# In the run directory.
AVERAGED_CHECKPOINT = "checkpoints/averaged.ckpt"


def choose_monitor(metrics: list[str]) -> str | None:
    """Return the metric to monitor among the logged validation metrics, or None if there is no unique choice."""
    for name in PREFERRED_METRICS:
        if name in metrics:
            return name
    return metrics[0] if len(metrics) == 1 and find_direction(metrics[0]) else None


def list_validation_metrics(trainer: Trainer) -> list[str]:
    """Return the names of the metrics that the last validation logged, also one before a resume; sorted."""
    names = list_logged_names(trainer.fit_loop.epoch_loop.val_loop)
    # With several dataloaders, Lightning appends "/dataloader_idx_0" to a name.
    return sorted(name for name in trainer.callback_metrics if name.partition("/dataloader_idx_")[0] in names)


class BestCheckpoint(ModelCheckpoint):
    """ModelCheckpoint whose metric and direction may be `auto`, and whose files survive a moved run directory.

    `auto` takes val/accuracy, or else val/loss or val_loss, or else the only validation metric. If there is no unique
    choice, no best checkpoint is saved. A ModelCheckpoint that the module returns from `configure_callbacks` replaces
    this one.

    Args:
        dirpath: Directory of the checkpoints.
        monitor: Name of the metric, or "auto".
        mode: "min" or "max". If None, the direction follows from the name of the metric.
        filename: Name of the file without its suffix, as in ModelCheckpoint.
        save_top_k: Number of best checkpoints to keep.

    Raises:
        ConfigError: If the direction of the metric is unknown.
    """

    def __init__(
        self,
        dirpath: str,
        monitor: str = AUTO,
        mode: Mode | None = None,
        filename: str = "best",
        save_top_k: int = 1,
    ) -> None:
        if monitor != AUTO and mode is None and find_direction(monitor) is None:
            raise ConfigError(
                f"The direction of callbacks.best.monitor={monitor} is unknown. Set callbacks.best.mode to min or max."
            )
        super().__init__(
            dirpath=dirpath,
            # Several checkpoints need names of their own.
            filename=filename if save_top_k == 1 or "{" in filename else f"{filename}-{{epoch}}",
            monitor=monitor,
            mode=mode or find_direction(monitor) or "min",
            save_top_k=save_top_k,
            save_on_train_epoch_end=True,  # after the last validation of the epoch
            enable_version_counter=False,  # overwrite best.ckpt instead of versioning it
        )
        self.given_mode = mode
        self.is_disabled = False

    @property
    def state_key(self) -> str:
        """Key of this callback's state in checkpoints: the same before and after `auto` is resolved."""
        return type(self).__name__

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the choice of the best checkpoint to a ModelCheckpoint of the module, if there is one."""
        super().setup(trainer, pl_module, stage)
        others = [callback for callback in trainer.checkpoint_callbacks if type(callback) is ModelCheckpoint]
        self.is_disabled = any(callback.monitor for callback in others)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the checkpoint if its metric is among the best."""
        if self.monitor == AUTO:
            self._resolve_monitor(trainer)
        if self.monitor != AUTO and not self.is_disabled:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: the checkpoint is saved at the end of the epoch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Do nothing: the checkpoint is saved at the end of the epoch."""

    def _resolve_monitor(self, trainer: Trainer) -> None:
        """Choose one of the metrics of the first validation; print once if there is no unique choice."""
        metrics = list_validation_metrics(trainer)
        if not metrics and trainer.enable_validation and not trainer.fit_loop.epoch_loop.val_loop._has_run:
            return
        chosen = choose_monitor(metrics)
        if chosen is not None:
            self.monitor = chosen
            self._set_mode(self.given_mode or find_direction(chosen) or "min")
        elif not self.is_disabled:
            self.is_disabled = True
            if not trainer.is_global_zero:
                return
            found = (
                f"the validation metrics are {', '.join(metrics[:9])}" if metrics else "there is no validation metric"
            )
            print(f"{'best':<8}  no best.ckpt: {found}. Set callbacks.best.monitor and mode to choose one.", flush=True)

    def _set_mode(self, mode: Mode) -> None:
        self.mode, worst = mode, {"min": "inf", "max": "-inf"}[mode]
        self.kth_value = torch.tensor(float(worst))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of ModelCheckpoint, with the resolved metric and direction."""
        return {**super().state_dict(), "monitor": self.monitor, "mode": self.mode}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state. Its paths are moved to the current directory: the run may have been moved or copied."""
        state = dict(state_dict)
        monitor, mode = state.pop("monitor"), state.pop("mode")
        if self.monitor == AUTO and monitor != AUTO:
            self.monitor = monitor
            self._set_mode(mode)
        if monitor not in (AUTO, self.monitor):
            return  # The resumed run monitors another metric.
        state = confine_state(state, str(self.dirpath), self.save_top_k)
        if state["best_model_path"] and not is_intact(Path(state["best_model_path"])):
            return  # The next epoch saves a new best checkpoint.
        super().load_state_dict(state)
        self.current_score = state["current_score"]


def is_intact(path: Path) -> bool:
    """Return True if a checkpoint is valid; otherwise rename it, so that no command loads it, and print a warning."""
    try:
        verify_checkpoint(path)
    except CheckpointError as error:
        if path.exists():
            path.replace(path.with_name(f"{path.name}.corrupt"))
        problem = str(error).removesuffix(f" {USE_ANOTHER_CHECKPOINT}")
        print(f"Warning: {problem} The best checkpoint is chosen again among the remaining epochs.", flush=True)
        return False
    return True


def read_global_step(path: Path) -> int | None:
    """Return the step of a checkpoint; None if there is none that can be loaded."""
    try:
        return int(load_checkpoint(path)["global_step"])
    except CheckpointError:
        return None


class BestCheckpointRecord(Checkpoint):
    """Write best.json: which checkpoint is the best one, whoever saved it, and its validation metrics.

    The ModelCheckpoint of the module takes precedence over the one of the config. The average of
    StochasticWeightAveraging, which exists only after the last epoch, takes precedence over both.

    Args:
        output_dir: The run directory.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the record: a ModelCheckpoint may save after validation."""
        self._write(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the record: a ModelCheckpoint may save after an epoch."""
        self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the record: a ModelCheckpoint may save at the end of the training. Save a final average."""
        self._write(trainer)
        if transfer_stochastic_average(trainer, pl_module):
            averaged = self.output_dir / AVERAGED_CHECKPOINT
            # A run resumed after its last step has the average already, and no state of its callback any more.
            if trainer.strategy.broadcast(read_global_step(averaged)) != trainer.global_step:
                trainer.save_checkpoint(averaged)
            if trainer.is_global_zero:
                self._write_record({"path": AVERAGED_CHECKPOINT, "monitor": None, "mode": None, "score": None}, {})

    def _write(self, trainer: Trainer) -> None:
        # A checkpoint with weights only cannot be evaluated without the run, nor resumed.
        callbacks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
        found = [callback for callback in callbacks if not callback.save_weights_only]
        found.sort(key=lambda callback: isinstance(callback, BestCheckpoint))
        best = next((callback for callback in found if callback.monitor and callback.best_model_path), None)
        if best is None or not trainer.is_global_zero:
            return
        score = None if best.best_model_score is None else float(best.best_model_score)
        path, root = Path(best.best_model_path).resolve(), self.output_dir.resolve()
        # Relative to the run directory, so that the record stays valid if the directory moves.
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        record = {"path": name, "monitor": best.monitor, "mode": best.mode, "score": score}
        self._write_record(record, {name: trainer.callback_metrics[name] for name in list_validation_metrics(trainer)})

    def _write_record(self, record: dict[str, Any], metrics: dict[str, torch.Tensor]) -> None:
        file = self.output_dir / BEST_CHECKPOINT_FILE
        written = read_json_or_empty(file)
        if record != {key: value for key, value in written.items() if key != "metrics"}:
            values = {name: float(value) for name, value in metrics.items()}  # waits for the device
            write_atomically(file, json.dumps(record | {"metrics": values}) + "\n")
