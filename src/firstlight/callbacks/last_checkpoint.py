"""Keep last.ckpt true: after each epoch, every few minutes, and when the run is asked to end."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from firstlight.checkpoint.rng_state import get_rng_states
from firstlight.distributed.collectives import DelayedMaxReduce, all_gather_objects
from firstlight.run.files import replace_atomically
from firstlight.run.signals import STOP_SIGNALS, install_signal_handler

# What a process asks for when the minutes or steps between savings have passed; a signal is its number more.
INTERVAL_ELAPSED = 1


# Lightning 2.6's ModelCheckpoint is not enough: it saves inside a step when it is interrupted and repeats that step
# after resuming, and its `save_last` writes last.ckpt only together with best.ckpt. This class can be removed when
# Lightning saves between optimizer steps. It has no on_exception: in the middle of a step, BatchNorm's buffers may
# already be updated, and the last regular checkpoint is consistent and at most ten minutes old.
class LastCheckpoint(Checkpoint):
    """Save the state of a training between two steps, so that a resumed run takes the steps it would have taken.

    The first signal that asks for the end (`firstlight.run.signals`) lets the step finish and saves, the second ends
    the run at once. Who listened to SIGUSR2 before hears of it once all is saved: by that signal submitit queues a job
    of Slurm again.

    Args:
        dirpath: folder of last.ckpt.
        every_n_epochs: epochs between savings.
        every_n_train_steps: optimizer steps between savings.
        every_n_minutes: minutes between savings; the first step after them saves.
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
        # The signal that asked this process, and that which all processes know of.
        self.requested_signal = self.agreed_signal = 0
        self.is_save_due = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and listen to signals; Lightning puts back the handlers of before."""
        self.saved_at, self.saved_step = time.monotonic(), trainer.global_step
        self.requested_signal = self.agreed_signal = 0
        self.is_save_due = False
        self.stop_reduce = DelayedMaxReduce()
        if threading.current_thread() is threading.main_thread():
            self.requeue = signal.getsignal(signal.SIGUSR2)
            install_signal_handler(STOP_SIGNALS, self._handle_signal)

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested_signal:
            raise SystemExit(128 + number)
        self.requested_signal = number
        with suppress(RuntimeError):  # the signal came while something was printed
            print("\nasked to end: the step is finished and saved first (once more ends at once)", flush=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Decide whether to save before the next batch; the chance which that draws on is what it is now."""
        between_steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if between_steps and self._sync_stop_request(self._has_interval_elapsed(trainer)):
            self.is_save_due = True
            self.rng_states = get_rng_states()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save what is due, now that all of the step before is done, its validation included."""
        if self.is_save_due:
            self._save(trainer)
            self._stop_if_requested()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """End inside a validation, too: a run that goes on starts it anew."""
        self._sync_stop_request()
        if self.agreed_signal:
            self._save(trainer)
            self._stop_if_requested()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an epoch and its validation."""
        self._sync_stop_request()
        if (
            self.is_save_due
            or self.agreed_signal
            or (self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0)
        ):
            self._save(trainer)
            self._stop_if_requested()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let a batch or a validation that has begun begin anew, with the chance that it had."""
        loops = checkpoint["loops"]["fit_loop"]
        if self.is_save_due:
            checkpoint["rng_states"] = all_gather_objects(self.rng_states)
            progress = loops["epoch_loop.batch_progress"]
            for each in (progress["total"], progress["current"]):
                each["ready"] = each["started"]
        if trainer.validating:
            progress = loops["epoch_loop.val_loop.batch_progress"]
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress["total"], progress["current"] = begun, dict(begun)

    def _sync_stop_request(self, passed: bool = False) -> int:
        agreed = self.stop_reduce(
            INTERVAL_ELAPSED + self.requested_signal if self.requested_signal else INTERVAL_ELAPSED * passed
        )
        self.agreed_signal = max(self.agreed_signal, agreed - INTERVAL_ELAPSED)
        return agreed

    def _has_interval_elapsed(self, trainer: Trainer) -> bool:
        steps = trainer.global_step - self.saved_step
        minutes = (time.monotonic() - self.saved_at) / 60
        by_steps = self.every_n_train_steps is not None and steps >= self.every_n_train_steps
        return by_steps or (self.every_n_minutes is not None and minutes >= self.every_n_minutes)

    def _save(self, trainer: Trainer) -> None:
        # Writing the same state twice would take twice the time and space: a hard link serves.
        same = None if trainer.validating else find_checkpoint_of_this_step(trainer)
        done = same is not None and trainer.strategy.broadcast(
            trainer.is_global_zero and link_atomically(same, self.path)
        )
        if not done:
            trainer.save_checkpoint(self.path)
        self.saved_at, self.saved_step, self.is_save_due = time.monotonic(), trainer.global_step, False

    def _stop_if_requested(self) -> None:
        if self.agreed_signal:
            print(f"saved; go on by `make train resume={self.path.parent.parent}`", flush=True)
            if self.requested_signal == signal.SIGUSR2 and callable(self.requeue):
                with suppress(SystemExit):
                    self.requeue(self.requested_signal, None)
            raise SystemExit(128 + self.agreed_signal)


def find_checkpoint_of_this_step(trainer: Trainer) -> Path | None:
    """Return the checkpoint that another callback wrote at this very moment, if there is one."""
    for each in trainer.checkpoint_callbacks:
        if isinstance(each, ModelCheckpoint) and each._last_global_step_saved == trainer.global_step:
            return Path(each._last_checkpoint_saved)
    return None


def link_atomically(file: Path, place: Path) -> bool:
    """Give a file a second name, without a moment in which that names nothing; say whether the file system can."""
    beside = place.with_name(f".{place.name}.tmp")
    try:
        beside.unlink(missing_ok=True)
        os.link(file, beside)
        replace_atomically(beside, place)
    except OSError:
        return False
    return True
