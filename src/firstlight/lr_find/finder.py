"""Lightning's learning-rate finder, with the ratios between the learning rates of parameter groups kept."""

import contextlib
import functools
import io
import math
import sys
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.tuner import lr_finder
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities.parsing import lightning_getattr
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer

from firstlight.lr_find.range_test import LossRecorder, RangeTestLR
from firstlight.model.optimizer import has_own_optimizers
from firstlight.run.errors import ConfigError, TrainingError

LR_ATTRIBUTES = ("lr", "learning_rate")
# A window covers a fifth of the steps: 1.6 decades of the default range.
WINDOWS_PER_RANGE = 5
# A slope counts if it exceeds its standard error by this factor. In 3 % of simulated searches, pure noise did.
MIN_SIGMAS = 3.5


class RatioLRFinder(lr_finder._LRFinder):
    """Lightning's finder with `RangeTestLR`, because its own schedulers give all groups the same learning rate.

    It also suggests another learning rate. Lightning 2.6 differentiates the smoothed loss with respect to the learning
    rate: where the rates differ by 1e-9, any noise of the loss is steeper than the decrease in training.
    """

    def _exchange_scheduler(self, trainer: Trainer) -> None:
        """Replace the schedulers of the module."""
        optimizer = trainer.strategy.optimizers[0]
        ratios = get_lr_ratios(trainer.lightning_module, optimizer)
        scheduler = RangeTestLR(optimizer, self.lr_min, self.lr_max, self.num_training, ratios)
        trainer.strategy.lr_scheduler_configs = [LRSchedulerConfig(scheduler, interval="step")]

    def suggestion(self, skip_begin: int = 0, skip_end: int = 0) -> float | None:
        """Return the learning rate at which the loss decreases most steeply over the logarithm of the learning rate.

        The slope at a step is that of a line through the losses of a window around it (least squares). A window has
        the same noise everywhere, which a moving average from the first step on has not.

        Args:
            skip_begin: Number of first steps that are left out.
            skip_end: Number of last steps that are left out.

        Returns:
            The learning rate; None if no slope exceeds the noise, or if there are fewer steps than a window has.
        """
        self._optimal_idx = None
        losses = torch.tensor(self.results["raw_loss"], dtype=torch.float64)
        steps = torch.arange(len(losses))[skip_begin : len(losses) - skip_end]
        steps = steps[losses[steps].isfinite()]
        radius = max(self.num_training // WINDOWS_PER_RANGE // 2, 2)
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
        if len(steps) < len(offsets):
            return None
        slopes = (losses[steps].unfold(0, len(offsets), 1) * offsets).sum(1) / offsets.square().sum()
        best = int(slopes.argmin())
        # Successive losses of the first half differ by their noise only, because the learning rate is still tiny.
        noise = losses[steps][: len(steps) // 2].diff().square().mean().div(2).sqrt()
        if slopes[best] >= -MIN_SIGMAS * noise / offsets.square().sum().sqrt() or slopes[best] >= 0:
            return None
        self._optimal_idx = int(steps[best + radius])
        return float(self.results["lr"][self._optimal_idx])


def get_lr_attribute(model: LightningModule) -> str:
    """Return the name of the attribute or hyperparameter with the learning rate of a module that has own optimizers.

    Raises:
        ConfigError: If it has none.
    """
    for name in LR_ATTRIBUTES:
        with contextlib.suppress(AttributeError):
            if isinstance(lightning_getattr(model, name), int | float):
                return name
    name = type(model).__name__
    raise ConfigError(
        f"{name} has its own configure_optimizers, but no attribute or hyperparameter `lr` or `learning_rate`, so "
        f"`make lr-find` cannot suggest a value. Add an argument `lr` to {name}, and use it in configure_optimizers."
    )


def get_lr_ratios(model: Any, optimizer: Optimizer) -> list[float]:
    """Return the learning rate of each parameter group relative to the one that the suggestion replaces.

    That is the learning rate of the config, which the last layer has, or the attribute of a module with own optimizers.

    Raises:
        ConfigError: If all learning rates are zero.
    """
    # A scheduler, which starts e.g. with a warmup, has changed the rate, and has stored the original one.
    rates = [float(group.get("initial_lr", group.get("lr")) or 0) for group in optimizer.param_groups]
    reference = max(rates)
    if has_own_optimizers(model):
        attribute: Any = lightning_getattr(model, get_lr_attribute(model))
        reference = float(attribute) if attribute in rates else reference
    if not reference > 0:
        raise ConfigError("The ratios of learning rates are undefined, because all are 0. Set e.g. optimizer.lr=0.1.")
    return [rate / reference for rate in rates]


def validate_optimization(model: LightningModule) -> None:
    """Check that a module has a single learning rate to find, before the data is loaded.

    Raises:
        ConfigError: If it has none.
    """
    name = type(model).__name__
    if not model.automatic_optimization:
        raise ConfigError(
            f"`make lr-find` requires automatic optimization, but {name} optimizes manually. Compare learning rates "
            "with `make sweep`."
        )
    if has_own_optimizers(model):
        get_lr_attribute(model)


def run_range_test(
    model: LightningModule,
    data: LightningDataModule | None,
    trainer: Trainer,
    min_lr: float,
    max_lr: float,
    num_steps: int,
    stop_factor: float | None,
) -> RatioLRFinder:
    """Train with an increasing learning rate, and return the finder. Weights and RNG states are restored.

    Args:
        model: The model.
        data: Its datamodule; None: the module has the dataloaders.
        trainer: A trainer without limits. Its `default_root_dir` temporarily contains the initial weights.
        min_lr: Learning rate of the first step.
        max_lr: Learning rate of the last step.
        num_steps: Number of optimizer steps.
        stop_factor: Stop when the smoothed loss exceeds this multiple of its minimum. If None, never.

    Raises:
        ConfigError: If the module optimizes manually, or has no single learning rate.
        TrainingError: If the first loss is not finite.
    """
    name = type(model).__name__
    validate_optimization(model)
    # Callbacks of the module may stop the training or write files.
    vars(model)["configure_callbacks"] = list
    limits: dict[str, Any] = {"min_lr": min_lr, "max_lr": max_lr, "num_training": num_steps}
    raw_losses: list[float] = []
    with isolate_rng(), replace_finder(raw_losses), contextlib.redirect_stdout(io.StringIO()), convert_error(name):
        finder: Any = Tuner(trainer).lr_find(
            model, datamodule=data, early_stop_threshold=stop_factor, update_attr=False, **limits
        )
    finder.results["raw_loss"] = raw_losses
    validate_first_loss(name, raw_losses, min_lr)
    return finder  # type: ignore[no-any-return]


def validate_first_loss(name: str, losses: list[float], min_lr: float) -> None:
    """Check that the model of this name has a finite loss before its weights have changed.

    Raises:
        TrainingError: If it has none.
    """
    if not losses or not math.isfinite(losses[0]):
        raise TrainingError(
            f"The loss of {name} is not finite in the first step, with a learning rate of {min_lr:g}. Check the data "
            "and the model, e.g. with `make train experiment=overfit`."
        )


@contextlib.contextmanager
def replace_finder(raw_losses: list[float]) -> Iterator[None]:
    """Let `Tuner.lr_find` of Lightning 2.6 use the classes of this module, and show its progress on terminals only."""
    library: Any = lr_finder
    replaced: dict[str, Any] = {
        "_LRFinder": RatioLRFinder,
        "_LRCallback": functools.partial(LossRecorder, raw_losses=raw_losses),
        "tqdm": functools.partial(library.tqdm, disable=not sys.stderr.isatty(), leave=False),
    }
    originals = {name: getattr(library, name) for name in replaced}
    vars(library).update(replaced)
    try:
        yield
    finally:
        vars(library).update(originals)


@contextlib.contextmanager
def convert_error(name: str) -> Iterator[None]:
    """Raise a ConfigError for a module whose `configure_optimizers` returns several optimizers.

    Lightning 2.6 raises a RuntimeError, because only manual optimization can use them.

    Args:
        name: Name of the module.

    Raises:
        ConfigError: If Lightning raises this error.
    """
    try:
        yield
    except RuntimeError as error:
        if "multiple optimizers" not in str(error):
            raise
        raise ConfigError(
            f"`make lr-find` requires a single optimizer, but configure_optimizers of {name} returns several. Return "
            "one optimizer with several parameter groups."
        ) from error
