"""Stop a training run whose validation metric no longer improves."""

from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from firstlight.callbacks.best_checkpoint import choose_monitor, list_validation_metrics
from firstlight.config.options import AUTO
from firstlight.run.errors import ConfigError
from firstlight.run.metrics import Mode, find_direction

MONITOR_KEY = "callbacks.early_stopping.monitor"


class AutoEarlyStopping(EarlyStopping):
    """Lightning's EarlyStopping, whose metric and direction may be `auto`, as in BestCheckpoint.

    The metric is checked after each epoch, or after each validation if an epoch has several or none. The count of
    validations without an improvement is part of checkpoints.

    Args:
        patience: Number of checks without an improvement after which the run stops.
        monitor: Name of the metric, or "auto".
        mode: "min" or "max". If None, the direction follows from the name of the metric.
        min_delta: A metric has improved if it differs from the best one by more than this, in the metric's unit.

    Raises:
        ConfigError: If the direction of the metric is unknown.
    """

    switch: ClassVar[str] = "patience"

    def __init__(self, patience: int, monitor: str = AUTO, mode: Mode | None = None, min_delta: float = 0.0) -> None:
        if monitor != AUTO and mode is None and find_direction(monitor) is None:
            raise ConfigError(
                f"The direction of {MONITOR_KEY}={monitor} is unknown. Set callbacks.early_stopping.mode to min or max."
            )
        super().__init__(
            monitor=monitor, mode=mode or find_direction(monitor) or "min", patience=patience, min_delta=min_delta
        )
        self.given_mode = mode
        self.reason: str | None = None

    @property
    def state_key(self) -> str:
        """Key of this callback's state in checkpoints: the same before and after `auto` is resolved."""
        return type(self).__name__

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that there is a validation if the metric is `auto`; without one, check the metric after each epoch.

        Raises:
            ConfigError: If there is none.
        """
        if self.monitor == AUTO and not trainer.enable_validation:
            raise ConfigError(
                f"callbacks.early_stopping.patience={self.patience} has no effect, because the run has no validation. "
                f"Set {MONITOR_KEY} to a training metric, or callbacks.early_stopping.patience=null."
            )
        if not trainer.enable_validation:
            self._check_on_train_epoch_end = True

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        """Check the metric. Before `trainer.min_epochs` or `trainer.min_steps`, it does not stop the training.

        Raises:
            ConfigError: If the metric was not logged, or `auto` finds no unique one.
        """
        if self.monitor == AUTO:
            self._resolve_monitor(trainer)
        if self.monitor not in trainer.callback_metrics:
            logged = [name for name in trainer.callback_metrics if not name.startswith("speed/")]
            names = sorted(logged, key=lambda name: (not name.startswith("val"), name))[:9]
            raise ConfigError(
                f"{MONITOR_KEY}={self.monitor} was not logged. Use one of the logged metrics: {', '.join(names)}."
            )
        was_stopped = trainer.should_stop
        super()._run_early_stopping_check(trainer)
        if trainer.should_stop and not was_stopped:
            if is_below_minimum(trainer):
                trainer.should_stop, self.stopped_epoch = False, 0  # a later check decides
            else:
                self.reason = self._describe_reason(float(trainer.callback_metrics[self.monitor]))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print one line if the metric has ended the run."""
        if self.reason and trainer.is_global_zero:
            print(f"{'stopped':<8}  after epoch {trainer.current_epoch}: {self.reason}", flush=True)

    def _describe_reason(self, value: float) -> str:
        """Return why the run stops at this value of the metric."""
        if self.wait_count < self.patience:
            return f"{self.monitor} is {value}"
        checks = f"{self.wait_count} check{'s' * (self.wait_count != 1)}"
        delta = f" by more than {abs(self.min_delta):g}" if self.min_delta else ""
        best = f"best {float(self.best_score):.4g}"
        return f"{self.monitor} has not improved{delta} in {checks} ({best})"

    def _resolve_monitor(self, trainer: Trainer) -> None:
        metrics = list_validation_metrics(trainer)
        chosen = choose_monitor(metrics)
        if chosen is None:
            raise ConfigError(
                f"callbacks.early_stopping.patience={self.patience} has no unique metric: the validation metrics are "
                f"{', '.join(metrics[:9]) or 'none'}. Set {MONITOR_KEY} and callbacks.early_stopping.mode."
            )
        self._set_monitor(chosen, self.given_mode or find_direction(chosen) or "min")

    def _set_monitor(self, monitor: str, mode: str) -> None:
        self.monitor, self.mode, sign = monitor, mode, {"min": -1, "max": 1}[mode]
        self.min_delta = sign * abs(self.min_delta)
        self.best_score = torch.tensor(-sign * torch.inf)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of EarlyStopping, with the resolved metric and direction."""
        return {**super().state_dict(), "monitor": self.monitor, "mode": self.mode}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, unless the resumed run monitors another metric. The patience of the config is kept."""
        monitor, mode = state_dict["monitor"], state_dict["mode"]
        if self.monitor == AUTO and monitor != AUTO:
            self._set_monitor(monitor, mode)
        if (monitor, mode) == (self.monitor, self.mode):
            super().load_state_dict({**state_dict, "patience": self.patience})


def is_below_minimum(trainer: Trainer) -> bool:
    """Return True if Lightning would continue the training after a stop in this epoch."""
    epochs, steps = trainer.min_epochs or 0, trainer.min_steps or 0
    return trainer.current_epoch + 1 < epochs or trainer.global_step < steps
