"""Activation checkpointing: compute the activations of repeated blocks again in the backward pass, to save memory."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from firstlight.distributed.repeated_blocks import find_repeated_blocks, find_repeated_layers
from firstlight.run.errors import ConfigError

RECOMPUTE_CONTEXT: ContextVar[Callable[[], AbstractContextManager[Any]]] = ContextVar("recompute_context")


def enable_activation_checkpointing(model: LightningModule) -> None:
    """Let the repeated blocks of a model keep only their inputs for the backward pass.

    A Sequential of single layers, such as the convolutions of VGG, is divided into segments: for n layers, about the
    square root of n.

    Source: T. Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016, arXiv:1604.06174.

    Args:
        model: The model, modified in place. The names of its parameters do not change.

    Raises:
        ConfigError: If it has neither repeated blocks nor a Sequential with repeated layers.
    """
    blocks, sequences = find_repeated_blocks(model), find_repeated_layers(model)
    if not blocks and not sequences:
        raise ConfigError(
            f"trainer.activation_checkpointing=true requires repeated blocks, but {type(model).__name__} has no "
            "ModuleList or Sequential with several modules of one class. Set trainer.activation_checkpointing=false."
        )
    for block in blocks:
        # Not `__call__`, so that the hooks of the block (FSDP's gather its parameters) run once per pass.
        block.forward = partial(checkpoint_in_training, block.forward, block)  # type: ignore[method-assign]
    for sequence in sequences:
        sequence.forward = partial(run_segments, sequence)  # type: ignore[method-assign]
    disable_cache(model)


def disable_activation_checkpointing(model: nn.Module) -> None:
    """Undo `enable_activation_checkpointing`, for example to count each operation once."""
    for module in model.modules():
        forward = vars(module).get("forward")
        if isinstance(forward, partial) and forward.func in (checkpoint_in_training, run_segments):
            del module.forward


def disable_cache(model: nn.Module) -> None:
    """Let networks of transformers not collect keys and values for generation: they would be added twice."""
    for module in model.modules():
        config = getattr(module, "config", None)
        if getattr(config, "use_cache", False):
            config.use_cache = False  # type: ignore[union-attr]


def checkpoint_in_training(forward: Any, owner: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Run a forward pass; if gradients are needed, keep only its inputs for the backward pass.

    Both passes use the same random numbers.

    Args:
        forward: The function to run.
        owner: The module whose parameters it uses.
        args: Its arguments.
        kwargs: Its keyword arguments.
    """
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if torch.compiler.is_compiling():  # a compiled graph updates buffers once
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    contexts = partial(make_contexts, owner)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def run_segments(sequence: nn.Sequential, inputs: Any) -> Any:
    """Run the layers of a Sequential in segments, each of which keeps only its inputs for the backward pass."""
    for layers in divide_into_segments(list(sequence)):
        segment = nn.Sequential(*layers)
        inputs = checkpoint_in_training(segment.forward, segment, inputs)
    return inputs


def divide_into_segments(layers: list[nn.Module]) -> list[list[nn.Module]]:
    """Return layers in about as many segments as each segment has layers.

    No segment starts with an in-place layer, which would overwrite the inputs that the segment keeps.
    """
    size = math.ceil(len(layers) / max(round(math.sqrt(len(layers))), 2))
    segments: list[list[nn.Module]] = [[]]
    for layer in layers:
        if len(segments[-1]) >= size and not getattr(layer, "inplace", False):
            segments.append([])
        segments[-1].append(layer)
    return segments


def make_contexts(owner: nn.Module) -> tuple[Any, Any]:
    """Return the contexts of the first and of the second forward pass of a block."""
    return nullcontext(), repeat_without_side_effects(owner, RECOMPUTE_CONTEXT.get(nullcontext))


@contextmanager
def recompute_within(context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Enter a further context around each second pass of the blocks whose first pass runs here.

    torch restores its own contexts, such as autocast of the device, but no context of a simulation.
    """
    token = RECOMPUTE_CONTEXT.set(context)
    try:
        yield
    finally:
        RECOMPUTE_CONTEXT.reset(token)


@contextmanager
def repeat_without_side_effects(
    owner: nn.Module, context: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Iterator[None]:
    """Let batch norms not update their running statistics, which the first pass has updated."""
    norms: list[Any] = [module for module in owner.modules() if isinstance(module, _BatchNorm)]
    saved = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        with context():
            yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, saved, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches
