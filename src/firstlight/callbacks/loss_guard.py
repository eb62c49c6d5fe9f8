"""Stop at a non-finite loss before it reaches a checkpoint, and save the batch that caused it."""

import statistics
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from firstlight.run.errors import TrainingError
from firstlight.run.files import write_atomically
from firstlight.trainer.steps import count_steps

# A spike is a loss far above the median of the last HISTORY_LENGTH losses, once there are at least MIN_HISTORY.
HISTORY_LENGTH, MIN_HISTORY = 200, 50


class PendingLoss(NamedTuple):
    """The loss of a step, still on the device and not checked yet."""

    step: int
    epoch: int
    loss: Tensor
    ids: Any


class LossGuard(Callback):
    """Stop the run at the first NaN or infinite loss, and warn of loss spikes.

    Losses are read, which synchronizes the device, every `log_every_n_steps` steps and before each checkpoint, so no
    checkpoint contains non-finite weights.

    Args:
        output_dir: The run directory, which receives the batch of a non-finite loss as bad_batch.pt.
        spike_factor: Warn if a loss exceeds this multiple of the median of the previous 200 losses. If None, never
            warn.
    """

    def __init__(self, output_dir: str, spike_factor: float | None = 10.0) -> None:
        self.output_dir = Path(output_dir)
        self.spike_factor = spike_factor
        self.pending: list[PendingLoss] = []
        self.history: deque[float] = deque(maxlen=HISTORY_LENGTH)
        self.last_warned_epoch = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Store the loss, and check the stored losses every `log_every_n_steps` steps."""
        # With manual optimization, the step may return nothing.
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            # Only the datasets of the engine can return the samples of a batch again.
            datasets = getattr(trainer.datamodule, "datasets", None)  # type: ignore[attr-defined]
            is_known = isinstance(batch, dict) and isinstance(datasets, dict) and "train" in datasets
            ids = batch.get("ids") if is_known else None
            self.pending.append(PendingLoss(count_steps(trainer), trainer.current_epoch, loss.detach().view(()), ids))
        if len(self.pending) >= trainer.log_every_n_steps:  # type: ignore[attr-defined]
            self._check_losses(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the remaining losses of the epoch."""
        self._check_losses(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Prevent a checkpoint with non-finite weights.

        Raises:
            TrainingError: If a loss or a weight is NaN or infinite.
        """
        self._check_losses(trainer)
        finite = [param.detach().isfinite().all() for param in pl_module.parameters() if param.requires_grad]
        if finite and not torch.stack(finite).all():
            raise TrainingError(
                f"Weights became NaN or infinite at step {count_steps(trainer)}. {suggest_fix(trainer)}"
            )

    def _check_losses(self, trainer: Trainer) -> None:
        pending, self.pending = self.pending, []
        losses = torch.stack([step.loss for step in pending]).float().tolist() if pending else []
        for step, loss in zip(pending, losses, strict=True):
            if not abs(loss) < float("inf"):
                raise TrainingError(self._save_batch_and_format_error(trainer, step, loss))
            self._warn_on_spike(step, loss)
            self.history.append(loss)

    def _save_batch_and_format_error(self, trainer: Trainer, step: PendingLoss, loss: float) -> str:
        """Save the batch if its sample IDs are known, and return the error message."""
        event = f"Loss is {loss} at step {step.step} (epoch {step.epoch + 1})."
        if step.ids is None:
            return f"{event} {suggest_fix(trainer)}"
        ids = step.ids.tolist()
        dataset = trainer.datamodule.datasets["train"]  # type: ignore[attr-defined]
        # The augmentation is a function of seed, epoch and IDs, so the batch can be reproduced exactly.
        batch = dataset.__getitems__(ids) if hasattr(dataset, "__getitems__") else [dataset[index] for index in ids]
        content = {"batch": batch, "ids": ids, "epoch": step.epoch, "step": step.step}
        path = self.output_dir / "bad_batch.pt"
        write_atomically(path, partial(torch.save, content))
        samples = ", ".join(map(str, ids[:8])) + (", ..." if len(ids) > 8 else "")
        return f"{event} The batch (train samples {samples}) was saved to {path}. {suggest_fix(trainer)}"

    def _warn_on_spike(self, step: PendingLoss, loss: float) -> None:
        """Print a warning for a loss spike, at most once per epoch."""
        if self.spike_factor is None or len(self.history) < MIN_HISTORY or self.last_warned_epoch == step.epoch:
            return
        median = statistics.median(self.history)
        if loss > self.spike_factor * median > 0:
            self.last_warned_epoch = step.epoch
            print(f"Warning: loss spike at step {step.step}: {loss:.4g} (recent median {median:.4g}).", flush=True)


def suggest_fix(trainer: Trainer) -> str:
    """Return the most likely fixes for a non-finite loss, which depend on the trainer's settings."""
    fixes = ["a lower optimizer.lr"]
    if not trainer.gradient_clip_val:
        fixes.append("trainer.gradient_clip_val=1")
    if str(trainer.precision) != "32-true":
        fixes.append("trainer.precision=32-true")
    return f"Try {' or '.join(fixes)}. The last checkpoint predates this step."
