"""Show training progress: one line per epoch, and on a terminal also a progress bar."""

import sys
import time
from contextlib import ExitStack
from typing import IO, Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from firstlight.run.console_log import BrokenPipeSafeStream, TeeStream, print_above_progress_bar

# A line shows at most this many metrics; all of them are in metrics.csv.
MAX_METRICS = 8


class EpochProgressBar(Callback):
    """Print one line per epoch; on a terminal, also show a progress bar with negligible overhead per step."""

    # Steps between updates of the bar, which redraws itself at most ten times per second.
    refresh_rate = 5

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self.exit_stack = ExitStack()
        self.console = Console(file=sys.stdout, soft_wrap=True, highlight=False)
        # The bar is written to the terminal only, not to output.log.
        self.terminal = Console(file=cast(IO[str], BrokenPipeSafeStream(sys.__stdout__)) if sys.__stdout__ else None)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch timer: a run resumed within an epoch does not call `on_train_epoch_start`."""
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch timer and the bar."""
        self.started = time.perf_counter()
        self._start_bar(f"epoch {trainer.current_epoch + 1}", trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar."""
        self._update_bar(batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar, and print the metrics and the duration of the epoch."""
        self._stop_bar()
        if trainer.is_global_zero:
            metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
            # `self.log` adds a name with the suffix "_step" or "_epoch" for each value.
            doubled = {name for name in metrics if name.endswith("_step") or f"{name}_epoch" in metrics}
            shown = [name for name in metrics if not name.startswith("speed/") and name not in {"train/lr", *doubled}]
            fields = [f"{name} {metrics[name]:.4g}" for name in shown[:MAX_METRICS]]
            duration_s = time.perf_counter() - self.started
            rates = {unit: metrics.get(f"speed/{unit}_per_s") for unit in ("samples", "steps")}
            fields += [
                f"{rate:.{0 if rate >= 10 else 2}f} {unit}/s" for unit, rate in rates.items() if rate is not None
            ]
            total = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
            line = "  ".join([*fields, f"{duration_s:.1f} s"])
            self.console.print(f"epoch {trainer.current_epoch + 1}{total}  {line}")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar."""
        self._start_bar("test", sum(int(count) for count in trainer.num_test_batches))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Update the bar."""
        self._update_bar(batch_idx + 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._stop_bar()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar before the error is printed."""
        self._stop_bar()

    def _start_bar(self, name: str, total: int | float) -> None:
        if self.console.is_terminal and self.terminal.is_terminal:
            columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            # Rich's redirection of stdout and stderr would bypass output.log.
            redirect = not isinstance(sys.stdout, TeeStream)
            self.bar = Progress(
                *columns, console=self.terminal, transient=True, redirect_stdout=redirect, redirect_stderr=redirect
            )
            self.task = self.bar.add_task(name, total=total)
            self.bar.start()
            self.exit_stack.enter_context(print_above_progress_bar(self.terminal))

    def _update_bar(self, completed: int) -> None:
        if self.bar is not None and completed % self.refresh_rate == 0:
            self.bar.update(self.task, completed=completed)

    def _stop_bar(self) -> None:
        if self.bar is not None:
            self.exit_stack.close()
            self.bar.stop()
            self.bar = None
