"""The steps of a plain PyTorch loop: the network, optimizer, clipping and precision of a Trainer, and nothing else."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from firstlight.benchmark.loops import set_zero_lr
from firstlight.model.task import Task, get_network
from firstlight.trainer.steps import list_accumulated_batches
from firstlight.trainer.trainer import Trainer

# Hooks that change what Lightning does between two forward passes.
OPTIMIZATION_HOOKS = ("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")
CLIP_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "norm": nn.utils.clip_grad_norm_,
    "value": nn.utils.clip_grad_value_,
}


def find_obstacle(model: LightningModule, phase: str) -> str | None:
    """Return why the plain loop of a module cannot be derived from its steps, or None.

    Args:
        model: The module.
        phase: "train", "eval" or "predict".
    """
    name = type(model).__name__
    if phase != "train":
        return None
    if not model.automatic_optimization:
        return f"{name} optimizes manually"
    overridden = [hook for hook in OPTIMIZATION_HOOKS if is_overridden(hook, model)]
    if overridden:
        return f"{name} defines {overridden[0]}"
    if "dataloader_iter" in inspect.signature(model.training_step).parameters:
        return f"training_step of {name} takes the dataloader_iter"
    return None


def prepare_batch(model: LightningModule, trainer: Trainer, batch: Any) -> Any:
    """Return a batch on the device, after the hooks that Lightning calls before a step."""
    batch = model._on_before_batch_transfer(trainer.precision_plugin.convert_input(batch))
    return model._apply_batch_transfer_handler(batch, trainer.strategy.root_device)


def make_train_step(model: LightningModule, trainer: Trainer, batch: Any) -> Callable[[], None]:
    """Return a function that runs one training step with the optimizer, clipping and precision of the trainer.

    Args:
        model: The module, on the device of the trainer.
        trainer: A trainer that has fitted the module, and supplies its settings.
        batch: Result of `prepare_batch`.
    """
    optimizer = build_optimizer(trainer)
    scaler: Any = getattr(trainer.precision_plugin, "scaler", None)  # of 16-mixed
    clip = CLIP_FUNCTIONS[trainer.gradient_clip_algorithm or "norm"]
    params = [param for group in optimizer.param_groups for param in group["params"]]
    max_gradient, num_batches = trainer.gradient_clip_val, list_accumulated_batches(trainer)[0]
    compute_loss = make_loss_function(model, batch)
    get_network(model).train()
    count = 0

    def step() -> None:
        nonlocal count
        with trainer.precision_plugin.forward_context():
            loss = compute_loss() / num_batches if num_batches > 1 else compute_loss()
        if count % num_batches == 0:
            optimizer.zero_grad()
        (loss if scaler is None else scaler.scale(loss)).backward()
        count += 1
        if count % num_batches:
            return
        if scaler is not None:
            scaler.unscale_(optimizer)
        if max_gradient:
            clip(params, max_gradient)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()

    return step


def build_optimizer(trainer: Trainer) -> Any:
    """Return a new optimizer of the module that the trainer has fitted, with a learning rate of zero."""
    trainer.strategy.setup_optimizers(trainer)
    optimizer: Any = trainer.strategy.optimizers[0]
    optimizer = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
    set_zero_lr(optimizer)
    return optimizer


def make_loss_function(model: LightningModule, batch: Any) -> Callable[[], Any]:
    """Return a function that computes the loss of a batch: of a `Task`, without its training metrics."""
    if isinstance(model, Task) and type(model).training_step is Task.training_step:
        return lambda: model.loss(model(batch["inputs"]), batch)
    step = bind_step(model.training_step, batch)

    def compute_loss() -> Any:
        output = step()
        return output["loss"] if isinstance(output, Mapping) else output

    return compute_loss


def make_eval_step(model: LightningModule, trainer: Trainer, batch: Any, hook: str) -> Callable[[], None]:
    """Return a function that runs one step without gradients, with the precision of the trainer.

    Args:
        model: The module, on the device of the trainer.
        trainer: Supplies the precision.
        batch: Result of `prepare_batch`.
        hook: "test_step", "validation_step" or "predict_step". Of a `Task`, the first is only its forward pass.
    """
    get_network(model).eval()
    is_forward = isinstance(model, Task) and hook != "predict_step"
    run: Callable[[], Any] = (lambda: model(batch["inputs"])) if is_forward else bind_step(getattr(model, hook), batch)

    @torch.inference_mode()
    def step() -> None:
        with trainer.precision_plugin.forward_context():
            run()

    return step


def bind_step(step: Callable[..., Any], batch: Any) -> Callable[[], Any]:
    """Return a step with a batch and the further arguments that its signature has, as Lightning passes them."""
    names = inspect.signature(step).parameters
    further = {name: 0 for name in ("batch_idx", "dataloader_idx") if name in names}
    return lambda: step(batch, **further)


class LoggingDisabled:
    """Context in which a module logs nothing, because Lightning collects results only inside its loops."""

    def __init__(self, model: LightningModule) -> None:
        self.model = model

    def __enter__(self) -> None:
        for name in ("log", "log_dict"):
            setattr(self.model, name, lambda *args, **kwargs: None)

    def __exit__(self, *error: object) -> None:
        for name in ("log", "log_dict"):
            delattr(self.model, name)
