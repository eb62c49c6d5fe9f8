"""Build the optimizer and the learning-rate scheduler of a model from their configs."""

import inspect
from types import MethodType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from firstlight.config.instantiate import call_target, locate
from firstlight.config.schema import OPTIMIZER_KEYS
from firstlight.model.parameter_groups import make_parameter_groups
from firstlight.run.errors import ConfigError

DEFAULT_OPTIMIZER = {"_target_": "torch.optim.AdamW", "lr": 1e-3}
# Arguments of torch's schedulers that are learning rates, either one or one for each parameter group.
LR_ARGUMENTS = ("max_lr", "base_lr", "min_lr")
# Optimizers with a fused kernel on both CUDA and MPS (torch 2.15).
FUSED_OPTIMIZERS = (SGD, Adam, AdamW)


def should_fuse(config: dict[str, Any], default: bool) -> bool:
    """Return True if the optimizer should update all weights in one fused kernel.

    Args:
        config: `_target_` and arguments of the optimizer. Its `fused` takes precedence.
        default: Whether to fuse an optimizer that supports it.
    """
    found = locate(config["_target_"])
    supported = isinstance(found, type) and issubclass(found, FUSED_OPTIMIZERS) and not config.get("foreach")
    return bool(config.get("fused", default and supported))


def build_optimizer(model: nn.Module, config: dict[str, Any], fused: bool) -> Optimizer:
    """Build an optimizer without weight decay for biases and normalization parameters (ndim <= 1).

    Args:
        model: Its frozen parameters are skipped.
        config: `_target_` and arguments of the optimizer, `layer_decay` (factor of the learning rate from each layer to
            the one before it; None: the same rate in all layers), and `no_weight_decay` (patterns of further parameters
            without weight decay).
        fused: Whether to pass `fused=True`.

    Raises:
        ConfigError: If the optimizer rejects its arguments, or a pattern matches no parameter.
    """
    groups = make_parameter_groups(model, config)
    kwargs = {name: value for name, value in config.items() if name not in (*OPTIMIZER_KEYS, "weight_decay")}
    optimizer_class = locate(kwargs.pop("_target_"))
    if fused:
        kwargs["fused"] = True
    optimizer: Optimizer = call_target(optimizer_class, groups, **kwargs)
    apply_lr_scales(optimizer)
    return optimizer


def apply_lr_scales(optimizer: Optimizer) -> None:
    """Multiply the learning rate of each parameter group by its `lr_scale`, a key of timm that torch ignores.

    Raises:
        ConfigError: If the optimizer has no learning rate.
    """
    for group in optimizer.param_groups:
        if "lr_scale" not in group:
            continue
        if group.get("lr") is None:
            name = type(optimizer).__name__
            raise ConfigError(f"optimizer.layer_decay requires a learning rate, but {name} has none. Set optimizer.lr.")
        group["lr"] = group["lr"] * group.pop("lr_scale")


def configure_optimizers(
    model: LightningModule, optimizer_config: dict[str, Any], scheduler_config: dict[str, Any]
) -> Any:
    """Build optimizer and LR scheduler of a model, in the form that Lightning expects from `configure_optimizers`.

    Args:
        model: The model, attached to its trainer.
        optimizer_config: `_target_` and arguments of the optimizer.
        scheduler_config: `_target_` and arguments of the LR scheduler; empty: the learning rate is constant.

    Raises:
        ConfigError: If one of them rejects its arguments, or the scheduler requires a finite run.
    """
    # Lightning's own Trainer has no `fused_optimizer`.
    default = getattr(model.trainer, "fused_optimizer", False)
    optimizer = build_optimizer(model, optimizer_config, should_fuse(optimizer_config, default))
    if model.trainer.gradient_clip_val:
        allow_clipping(optimizer)
    if not scheduler_config:
        return optimizer
    return {"optimizer": optimizer, "lr_scheduler": build_lr_scheduler(optimizer, scheduler_config, model.trainer)}


def allow_clipping(optimizer: Optimizer) -> None:
    """Let Lightning clip the gradients of a fused optimizer, which it rejects in version 2.6.

    A fused step can unscale the gradients itself. Without this flag, they are unscaled and clipped first, and then
    reach the same fused step.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def build_lr_scheduler(optimizer: Optimizer, config: dict[str, Any], trainer: Trainer) -> dict[str, Any]:
    """Build an LR scheduler, in the dictionary that Lightning expects from `configure_optimizers`.

    Args:
        optimizer: The optimizer whose learning rate is scheduled.
        config: `_target_` and arguments of the scheduler, `interval` ("step" or "epoch") and `monitor`.
        trainer: Trainer of the run, which knows its number of steps.

    Raises:
        ConfigError: If the scheduler rejects its arguments, or requires the number of steps of an endless run.
    """
    kwargs = dict(config)
    interval, monitor = kwargs.pop("interval", "step"), kwargs.pop("monitor", None)
    scheduler_class = locate(kwargs.pop("_target_"))
    total = trainer.estimated_stepping_batches if interval == "step" else trainer.max_epochs
    keep_lr_ratios(optimizer, kwargs)
    # Arguments whose values are known only now, by the names that torch's schedulers use.
    # A list of rates, because a single one would replace the different rates of parameter groups.
    computed = {"total_steps": total, "T_max": total, "max_lr": [group["lr"] for group in optimizer.param_groups]}
    accepted = inspect.signature(scheduler_class).parameters
    computed = {name: value for name, value in computed.items() if name in accepted and kwargs.get(name) is None}
    if total in (-1, None, float("inf")) and computed.keys() & {"total_steps", "T_max"}:
        raise ConfigError(
            f"{scheduler_class.__name__} requires a finite run, but trainer.max_epochs={trainer.max_epochs}. "
            "Set trainer.max_epochs or trainer.max_steps, or use scheduler=constant."
        )
    scheduler = call_target(scheduler_class, optimizer, **{**kwargs, **computed})
    return {"scheduler": scheduler, "interval": interval, "monitor": monitor}


def keep_lr_ratios(optimizer: Optimizer, kwargs: dict[str, Any]) -> None:
    """Replace learning rates in the arguments of a scheduler by one for each group, if the groups have different rates.

    Args:
        optimizer: Its groups have the rates of `layer_decay`.
        kwargs: Arguments of the scheduler, changed in place.

    Raises:
        ConfigError: If the scheduler takes a single lowest rate for all groups.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    if len(set(rates)) == 1:
        return
    for name in LR_ARGUMENTS:
        if isinstance(kwargs.get(name), int | float):
            kwargs[name] = [kwargs[name] * rate / max(rates) for rate in rates]
    if kwargs.get("eta_min"):
        raise ConfigError(
            f"scheduler.eta_min={kwargs['eta_min']} would be the lowest rate of all layers, against "
            "optimizer.layer_decay. Set scheduler.eta_min=0."
        )


def has_own_optimizers(model: LightningModule) -> bool:
    """Return True if a module defines its optimizers itself, so that the config has no optimizer for it."""
    return type(model).configure_optimizers not in (LightningModule.configure_optimizers, configure_from_config)


def set_optimizer_config(
    model: LightningModule, optimizer_config: dict[str, Any], scheduler_config: dict[str, Any]
) -> None:
    """Let a module that does not define its optimizers use the optimizer and the LR scheduler of the config.

    Args:
        model: A `Task`, or a module without `configure_optimizers`.
        optimizer_config: `_target_` and arguments of the optimizer.
        scheduler_config: `_target_` and arguments of the LR scheduler; empty: the learning rate is constant.
    """
    model.optimizer_config, model.scheduler_config = optimizer_config, scheduler_config  # type: ignore[assignment]
    if type(model).configure_optimizers is LightningModule.configure_optimizers:
        model.configure_optimizers = MethodType(configure_from_config, model)  # type: ignore[method-assign]


def configure_from_config(model: Any) -> Any:
    """Build the optimizer and the LR scheduler that `set_optimizer_config` has set; a `configure_optimizers` hook."""
    return configure_optimizers(model, model.optimizer_config, model.scheduler_config)
