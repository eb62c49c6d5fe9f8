"""Exponential moving average (EMA) of the weights, which is validated, saved, tested and exported."""

from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from firstlight.run.errors import ConfigError
from firstlight.trainer.steps import count_steps


class EMAModel(AveragedModel):
    """A copy of a model with averaged weights and buffers, updated without waiting for the device.

    torch's `AveragedModel.update_parameters` reads the number of updates from the device in each step, and rounds
    averages of integers, such as the counters of batch norms. Here, integers are copied.

    Args:
        model: The model.
        decay: Weight of the previous average, from 0 to 1.
        device: Device of the copy.
    """

    def __init__(self, model: nn.Module, decay: float, device: torch.device) -> None:
        average: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(model, device=device, multi_avg_fn=average, use_buffers=True)
        # None: unknown until the first update, because a checkpoint may have been loaded.
        self.has_average: bool | None = None

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the averages with the current weights; the first update copies them."""
        if self.has_average is None:
            self.has_average = bool(self.n_averaged)
        averages = [*self.module.parameters(), *self.module.buffers()]
        current = [*model.parameters(), *model.buffers()]
        pairs = list(zip(averages, current, strict=True))
        averaged = [pair for pair in pairs if self.has_average and pair[0].is_floating_point()]
        copied = [pair for pair in pairs if not (self.has_average and pair[0].is_floating_point())]
        if averaged:
            self.multi_avg_fn([average for average, _ in averaged], [value for _, value in averaged], self.n_averaged)  # type: ignore[misc]
        for average, value in copied:
            average.copy_(value)
        self.n_averaged += 1
        self.has_average = True


class ExponentialMovingAverage(EMAWeightAveraging):
    """Lightning's EMAWeightAveraging, with an average on the device of the model.

    After update k with the weights w[k], the average is a[k] = decay * a[k - 1] + (1 - decay) * w[k], and a[1] = w[1].
    Validation, checkpoints, tests and exports use the average. `averaged_weights.py` adds what every averaging callback
    needs: before the first update, the average follows the weights, and a resumed run is exact.

    Why a subclass: Lightning 2.6 creates the average before the model is moved to its device, so that each update
    copies all weights to the CPU, and warns about the hook `configure_model` of every task.

    Args:
        decay: Weight of the previous average.
        update_every_n_steps: Optimizer steps between updates.
        update_starting_at_step: Optimizer step of the first update, from 0. If None, the first step.
    """

    switch: ClassVar[str] = "decay"

    def __init__(self, decay: float, update_every_n_steps: int = 1, update_starting_at_step: int | None = None) -> None:
        super().__init__(
            decay=decay, update_every_n_steps=update_every_n_steps, update_starting_at_step=update_starting_at_step
        )
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Create the average when a training run starts."""
        if stage == "fit":
            # The copy needs all layers. Sharded models, which this call would not shard, are rejected.
            pl_module.configure_model()
            self._average_model = EMAModel(pl_module, self.decay, trainer.strategy.root_device)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the run is long enough for the steps of the updates.

        Raises:
            ConfigError: If the average would never be updated.
        """
        start, interval = self.update_starting_at_step or 0, self.update_every_n_steps
        if getattr(trainer, "fast_dev_run", False) or (start == 0 and interval == 1):
            return
        num_steps = trainer.estimated_stepping_batches
        first = -(-start // interval) * interval  # steps count from 0
        if first >= num_steps:
            name = "update_starting_at_step" if start >= num_steps else "update_every_n_steps"
            raise ConfigError(
                f"callbacks.ema.decay={self.decay} has no effect: the first update is after step {first + 1}, but the "
                f"run has {num_steps} optimizer steps. Decrease callbacks.ema.{name}, or increase trainer.max_epochs."
            )
        # Not an error: a smoke test of a preset is as short.
        if first + interval >= num_steps and interval > 1 and trainer.is_global_zero:
            print(f"note      the average is the weights after step {first + 1}: no other update in {num_steps} steps")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after an optimizer step; Lightning counts the steps of several optimizers separately."""
        num_steps = count_steps(trainer)
        if num_steps > self._latest_update_step and self.should_update(step_idx=num_steps - 1):
            assert self._average_model is not None
            self._average_model.update_parameters(pl_module)
            self._latest_update_step = num_steps

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore weights and average; a test after the training run loads only the weights, which are the average."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the last update."""
        return {"latest_update_step": self._latest_update_step}
