"""Build the optimizer and the learning-rate scheduler of a model from their configs."""

import inspect
from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Trainer
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from firstlight.config.instantiate import call_class, locate
from firstlight.run.errors import ConfigError

# Optimizers with a fused kernel on both CUDA and MPS (torch 2.15).
FUSED_OPTIMIZERS = (SGD, Adam, AdamW)


def should_fuse(config: dict[str, Any], default: bool) -> bool:
    """Return True if the optimizer should update all weights in one fused kernel.

    Args:
        config: `_target_` and arguments of the optimizer. Its `fused` takes precedence.
        default: Whether to fuse an optimizer that supports it.
    """
    supported = issubclass(locate(config["_target_"]), FUSED_OPTIMIZERS) and not config.get("foreach")
    return bool(config.get("fused", default and supported))


def build_optimizer(parameters: Iterable[nn.Parameter], config: dict[str, Any], fused: bool) -> Optimizer:
    """Build an optimizer without weight decay for biases and normalization parameters (ndim <= 1).

    Args:
        parameters: Parameters of a model. Frozen parameters are skipped.
        config: `_target_` and arguments of the optimizer.
        fused: Whether to pass `fused=True`.

    Raises:
        ConfigError: If the optimizer rejects its arguments.
    """
    kwargs = dict(config)
    optimizer_class = locate(kwargs.pop("_target_"))
    if fused:
        kwargs["fused"] = True
    weight_decay = kwargs.pop("weight_decay", 0.0)
    trainable = [param for param in parameters if param.requires_grad]
    groups = [
        {"params": [param for param in trainable if param.ndim > 1], "weight_decay": weight_decay},
        {"params": [param for param in trainable if param.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer: Optimizer = call_class(optimizer_class, [group for group in groups if group["params"]], **kwargs)
    return optimizer


def build_lr_scheduler(
    optimizer: Optimizer, config: dict[str, Any], trainer: Trainer, peak_lr: float | None
) -> dict[str, Any]:
    """Build an LR scheduler, in the dictionary that Lightning expects from `configure_optimizers`.

    Args:
        optimizer: The optimizer whose learning rate is scheduled.
        config: `_target_` and arguments of the scheduler, `interval` ("step" or "epoch") and `monitor`.
        trainer: Trainer of the run, which knows its number of steps.
        peak_lr: Learning rate of the optimizer.

    Raises:
        ConfigError: If the scheduler rejects its arguments, or requires the number of steps of an endless run.
    """
    kwargs = dict(config)
    interval, monitor = kwargs.pop("interval", "step"), kwargs.pop("monitor", None)
    scheduler_class = locate(kwargs.pop("_target_"))
    total = trainer.estimated_stepping_batches if interval == "step" else trainer.max_epochs
    # Arguments whose values are known only now, by the names that torch's schedulers use.
    computed = {"total_steps": total, "T_max": total, "max_lr": peak_lr}
    accepted = inspect.signature(scheduler_class).parameters
    computed = {name: value for name, value in computed.items() if name in accepted and kwargs.get(name) is None}
    if total in (-1, None, float("inf")) and computed.keys() & {"total_steps", "T_max"}:
        raise ConfigError(
            f"{scheduler_class.__name__} requires a finite run, but trainer.max_epochs={trainer.max_epochs}. "
            "Set trainer.max_epochs or trainer.max_steps, or use scheduler=constant."
        )
    scheduler = call_class(scheduler_class, optimizer, **{**kwargs, **computed})
    return {"scheduler": scheduler, "interval": interval, "monitor": monitor}
