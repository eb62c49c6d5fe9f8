"""Show how training goes: a bar while an epoch runs (on a terminal), and a line when it is done."""

import sys
import time
from contextlib import ExitStack
from typing import IO, Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from firstlight.run.console_log import BrokenPipeSafeStream, TeeStream, print_above_progress_bar


class EpochProgressBar(Callback):
    """Print one line per epoch; on a terminal, a bar beside it that costs the steps next to nothing."""

    # A refresh each so many steps: the bar draws itself ten times a second at most.
    refresh_rate = 5

    def __init__(self) -> None:
        """Make no bar yet."""
        self.bar: Progress | None = None
        self.exit_stack = ExitStack()
        self.console = Console(file=sys.stdout, soft_wrap=True, highlight=False)
        # The bar is for the terminal alone, past the run's output.log.
        self.terminal = Console(file=cast(IO[str], BrokenPipeSafeStream(sys.__stdout__)) if sys.__stdout__ else None)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock: a run that goes on in mid-epoch does not start that epoch."""
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and the bar."""
        self.started = time.perf_counter()
        self._start_bar(f"epoch {trainer.current_epoch + 1}", trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        self._update_bar(batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's line."""
        self._stop_bar()
        if trainer.is_global_zero:
            figures = [f"{name} {float(value):.4g}" for name, value in sorted(trainer.callback_metrics.items())
                       if name.startswith(("train/", "val/")) and name != "train/lr"]  # fmt: skip
            seconds = time.perf_counter() - self.started
            speed = trainer.callback_metrics.get("speed/samples_per_s")
            figures += [f"{float(speed):.0f} samples/s"] if speed is not None else []
            of = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
            self.console.print(f"epoch {trainer.current_epoch + 1}{of}  " + "  ".join([*figures, f"{seconds:.1f} s"]))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar."""
        self._start_bar("test", sum(int(each) for each in trainer.num_test_batches))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Move the bar."""
        self._update_bar(batch_idx + 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        self._stop_bar()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the bar away, so that the error stands alone."""
        self._stop_bar()

    def _start_bar(self, name: str, total: int | float) -> None:
        if self.console.is_terminal and self.terminal.is_terminal:
            columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            # Rich's own way with what is printed meanwhile would keep it from output.log.
            own = not isinstance(sys.stdout, TeeStream)
            self.bar = Progress(
                *columns, console=self.terminal, transient=True, redirect_stdout=own, redirect_stderr=own
            )
            self.task = self.bar.add_task(name, total=total)
            self.bar.start()
            self.exit_stack.enter_context(print_above_progress_bar(self.terminal))

    def _update_bar(self, done: int) -> None:
        if self.bar is not None and done % self.refresh_rate == 0:
            self.bar.update(self.task, completed=done)

    def _stop_bar(self) -> None:
        if self.bar is not None:
            self.exit_stack.close()
            self.bar.stop()
            self.bar = None
