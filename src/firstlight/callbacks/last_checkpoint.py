"""Save last.ckpt after each epoch, at intervals, and when the run is asked to stop."""

import shutil
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from firstlight.callbacks.averaged_weights import swap_averaged_weights
from firstlight.checkpoint.rng_state import get_rng_states
from firstlight.distributed.collectives import DelayedMaxReduce, all_gather_objects
from firstlight.run.files import ENGINE_KEY, write_atomically
from firstlight.run.progress import show_progress
from firstlight.run.signals import STOP_SIGNALS, install_signal_handler, restore_signal_handlers
from firstlight.run.text import format_command, format_override
from firstlight.trainer.steps import count_steps

# Request of a rank whose save interval has elapsed. A stop request is this number plus the signal number.
INTERVAL_ELAPSED = 1
COPY_BUFFER_BYTES = 1 << 20


# Lightning 2.6's ModelCheckpoint is not enough: it saves inside a step when it is interrupted and repeats that step
# after resuming, and its `save_last` writes last.ckpt only together with best.ckpt. This class can be removed when
# Lightning saves between optimizer steps. It has no on_exception: in the middle of a step, BatchNorm's buffers may
# already be updated, and the last regular checkpoint is consistent and at most ten minutes old.
class LastCheckpoint(Checkpoint):
    """Save the training state between two steps, so that a resumed run takes the same steps as an uninterrupted one.

    The first stop signal (`firstlight.run.signals`) finishes the current step and saves; the second one stops the run
    immediately. A previously installed SIGUSR2 handler is called after saving; submitit uses it to requeue Slurm jobs.

    Args:
        dirpath: Directory of last.ckpt.
        every_n_epochs: Epochs between saves. If None, epochs do not trigger a save.
        every_n_train_steps: Optimizer steps between saves. If None, steps do not trigger a save.
        every_n_minutes: Minutes between saves; the first step after this interval saves. If None, time does not
            trigger a save.
    """

    def __init__(
        self,
        dirpath: str,
        every_n_epochs: int | None = 1,
        every_n_train_steps: int | None = None,
        every_n_minutes: float | None = None,
    ) -> None:
        self.path = Path(dirpath) / "last.ckpt"
        self.every_n_epochs = every_n_epochs
        self.every_n_train_steps = every_n_train_steps
        self.every_n_minutes = every_n_minutes
        # The signal that this process received, and the signal that all ranks know of; 0: none.
        self.requested_signal = self.agreed_signal = 0
        self.is_save_due = False
        self.previous_handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the save interval and install the signal handlers; `on_train_end` restores the previous handlers."""
        self.saved_at, self.saved_step = time.monotonic(), count_steps(trainer)
        self.requested_signal = self.agreed_signal = 0
        self.is_save_due = False
        self.rng_states = get_rng_states()  # a resumed run may start with a validation
        self.stop_reduce = DelayedMaxReduce()
        if threading.current_thread() is threading.main_thread():
            self.requeue_handler = signal.getsignal(signal.SIGUSR2)
            self.previous_handlers = install_signal_handler(STOP_SIGNALS, self._handle_signal)

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested_signal:
            raise SystemExit(128 + number)
        self.requested_signal = number
        with suppress(RuntimeError):  # raised if the signal arrives during another print
            print(
                "\nStop requested: finishing this step and saving a checkpoint. "
                "Press Ctrl-C again to stop immediately.",
                flush=True,
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Decide whether to save before the next batch, and if so, store the RNG states of this moment."""
        between_steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if between_steps and self._sync_stop_request(self._has_interval_elapsed(trainer)):
            self.is_save_due = True
        # A validation may draw random numbers too, and a resumed run repeats one in which it was stopped.
        loop = trainer.fit_loop
        if self.is_save_due or loop.epoch_loop._should_check_val_fx(loop._data_fetcher):  # type: ignore[arg-type]
            self.rng_states = get_rng_states()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save if a save is due: the previous step is complete by now, including its validation."""
        if self.is_save_due:
            self._save(trainer)
            self._requeue_or_stop_if_requested()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop during a validation if requested; the resumed run repeats this validation from its start.

        Between two batches whose gradients are accumulated, the step is completed first.
        """
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._sync_stop_request()
        if self.agreed_signal and not trainer.fit_loop._should_accumulate():
            swap_averaged_weights(trainer, pl_module)
            self._save(trainer)
            self._requeue_or_stop_if_requested()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the last validation of an epoch."""
        self._sync_stop_request()
        if (
            self.is_save_due
            or self.agreed_signal
            or (self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0)
        ):
            self._save(trainer)
            self._requeue_or_stop_if_requested()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if a signal has arrived since the end of the last epoch; later signals stop the command immediately."""
        restore_signal_handlers(self.previous_handlers)
        for _ in range(2):  # with several ranks, a request is known one call later
            self._sync_stop_request()
        if self.agreed_signal:
            if self.saved_step != count_steps(trainer):
                self._save(trainer)
            self._requeue_or_stop_if_requested()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Reset the progress of a started batch or validation, so that a resumed run repeats it with the same RNG."""
        loops = checkpoint["loops"]["fit_loop"]
        engine = checkpoint.setdefault(ENGINE_KEY, {})
        if self.is_save_due or trainer.validating:
            engine["rng_states"] = all_gather_objects(self.rng_states)
        if self.is_save_due:
            # Callbacks have started the next batch, and may have logged for it.
            engine["loop_state"]["num_logged_steps"] = count_steps(trainer)
            progress = loops["epoch_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts["ready"] = counts["started"]
        if trainer.validating:
            progress = loops["epoch_loop.val_loop.batch_progress"]
            counts = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress["total"], progress["current"] = counts, dict(counts)

    def _sync_stop_request(self, has_interval_elapsed: bool = False) -> int:
        """Return the greatest request of all ranks, or 0; with several ranks, the result is one call late."""
        request = INTERVAL_ELAPSED * has_interval_elapsed
        if self.requested_signal:
            request = INTERVAL_ELAPSED + self.requested_signal
        agreed = self.stop_reduce(request)
        self.agreed_signal = max(self.agreed_signal, agreed - INTERVAL_ELAPSED)
        return agreed

    def _has_interval_elapsed(self, trainer: Trainer) -> bool:
        steps = count_steps(trainer) - self.saved_step
        minutes = (time.monotonic() - self.saved_at) / 60
        by_steps = self.every_n_train_steps is not None and steps >= self.every_n_train_steps
        return by_steps or (self.every_n_minutes is not None and minutes >= self.every_n_minutes)

    def _save(self, trainer: Trainer) -> None:
        # If another callback has just saved the same state, copying its file is faster than saving again. A hard link
        # would be faster still, but one damaged file would then cost both checkpoints.
        existing = None if trainer.validating else find_current_step_checkpoint(trainer)
        is_copied = existing is not None and trainer.strategy.broadcast(
            trainer.is_global_zero and copy_atomically(existing, self.path)
        )
        if not is_copied:
            trainer.save_checkpoint(self.path)
        self.saved_at, self.saved_step, self.is_save_due = time.monotonic(), count_steps(trainer), False

    def _requeue_or_stop_if_requested(self) -> None:
        if self.agreed_signal:
            command = format_command("make", "train", format_override("resume", self.path.parent.parent))
            print(f"Checkpoint saved. Resume with: {command}", flush=True)
            if self.requested_signal == signal.SIGUSR2 and callable(self.requeue_handler):
                with suppress(SystemExit):
                    self.requeue_handler(self.requested_signal, None)
            raise SystemExit(128 + self.agreed_signal)


def find_current_step_checkpoint(trainer: Trainer) -> Path | None:
    """Return the checkpoint that the only ModelCheckpoint has saved at the end of this epoch, or None.

    With several of them, the file of one lacks the state of the next.
    """
    found = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    if len(found) != 1 or found[0].save_weights_only or not found[0]._should_save_on_train_epoch_end(trainer):
        return None
    is_current = found[0]._last_global_step_saved == trainer.global_step
    return Path(found[0]._last_checkpoint_saved) if is_current else None


def copy_atomically(source: Path, path: Path) -> bool:
    """Replace `path` atomically by a copy of `source`; return False if `source` is a sharded checkpoint."""
    if not source.is_file():
        return False
    with source.open("rb") as file, show_progress(f"Copying {source} to {path}"):
        write_atomically(path, partial(shutil.copyfileobj, file, length=COPY_BUFFER_BYTES))
    return True
