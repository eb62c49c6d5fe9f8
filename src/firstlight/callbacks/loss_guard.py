"""Stop at a loss that is no number, before it reaches a checkpoint, and say where it came from."""

import statistics
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from firstlight.run.files import write_atomically

# Losses that a spike is held against, and how many there must be before any is called one.
HISTORY_LENGTH, MIN_HISTORY = 200, 50


class PendingLoss(NamedTuple):
    """A step whose loss nobody has looked at yet."""

    step: int
    epoch: int
    loss: Tensor
    ids: Any


class LossGuard(Callback):
    """End the run at the first loss that is NaN or infinite; warn of one that leaps.

    The device is waited for every `log_every_n_steps` steps, and before each checkpoint: the last one holds no bad
    weight.

    Args:
        output_dir: folder that gets the batch of a bad step, as bad_batch.pt.
        spike_factor: warn of a loss so many times the median of the 200 before; None never does.
    """

    def __init__(self, output_dir: str, spike_factor: float | None = 10.0) -> None:
        self.output_dir = Path(output_dir)
        self.spike_factor = spike_factor
        self.steps: list[PendingLoss] = []
        self.before: deque[float] = deque(maxlen=HISTORY_LENGTH)
        self.warned_in = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss, and look at all that were noted from time to time."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None:
            ids = batch.get("ids") if isinstance(batch, dict) else None
            self.steps.append(PendingLoss(trainer.global_step, trainer.current_epoch, loss.detach(), ids))
        if len(self.steps) >= trainer.log_every_n_steps:  # type: ignore[attr-defined]
            self._check_losses(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the rest."""
        self._check_losses(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to save weights that are no numbers.

        Raises:
            ValueError: a loss or a weight is NaN or infinite.
        """
        self._check_losses(trainer)
        if not torch.stack([each.detach().isfinite().all() for each in pl_module.parameters()]).all():
            raise ValueError(
                f"Step {trainer.global_step} made weights that are no numbers (NaN or infinite): {suggest_fix(trainer)}"
            )

    def _check_losses(self, trainer: Trainer) -> None:
        steps, self.steps = self.steps, []
        losses = torch.stack([each.loss for each in steps]).float().tolist() if steps else []
        for step, loss in zip(steps, losses, strict=True):
            if not abs(loss) < float("inf"):
                raise ValueError(self._format_non_finite_loss(trainer, step, loss))
            self._warn_on_spike(step, loss)
            self.before.append(loss)

    def _format_non_finite_loss(self, trainer: Trainer, step: PendingLoss, loss: float) -> str:
        where = f"The loss is {loss} in step {step.step} (epoch {step.epoch + 1})"
        if step.ids is None:
            return f"{where}: {suggest_fix(trainer)}"
        ids = step.ids.tolist()
        dataset = trainer.datamodule.datasets["train"]  # type: ignore[attr-defined]
        # Its augmentation is a function of seed, epoch and ids: the batch can be had again exactly.
        batch = dataset.__getitems__(ids) if hasattr(dataset, "__getitems__") else [dataset[each] for each in ids]
        content = {"batch": batch, "ids": ids, "epoch": step.epoch, "step": step.step}
        write_atomically(self.output_dir / "bad_batch.pt", partial(torch.save, content))
        names = ", ".join(map(str, ids[:8])) + (" ..." if len(ids) > 8 else "")
        return f"{where}; its samples, of train, are {names}, kept in {self.output_dir}/bad_batch.pt: {suggest_fix(trainer)}"

    def _warn_on_spike(self, step: PendingLoss, loss: float) -> None:
        if self.spike_factor is None or len(self.before) < MIN_HISTORY or self.warned_in == step.epoch:
            return
        usual = statistics.median(self.before)
        if loss > self.spike_factor * usual:
            self.warned_in = step.epoch
            print(f"loss spike in step {step.step}: {loss:.4g}, against a median of {usual:.4g} before", flush=True)


def suggest_fix(trainer: Trainer) -> str:
    """Return what helps most often."""
    tries = ["a lower optimizer.lr"]
    if not trainer.gradient_clip_val:
        tries.append("trainer.gradient_clip_val=1")
    if str(trainer.precision) != "32-true":
        tries.append("trainer.precision=32-true")
    return f"try {' or '.join(tries)}; the last checkpoint is from before"
