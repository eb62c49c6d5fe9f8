"""Copies of a model that have shapes and no numbers, and what can be counted on them."""

import copy
from functools import partial
from typing import Any, TypeVar

import torch
from lightning.fabric.utilities.throughput import measure_flops
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only

META_DEVICE = torch.device("meta")

M = TypeVar("M", bound=LightningModule)


def copy_to_meta(model: M) -> M:
    """Return a copy of a model whose weights and buffers have shapes only; the numbers are never copied."""
    memo: dict[int, Any] = {}
    for each in [*model.parameters(), *model.buffers()]:
        shape = torch.empty_like(each, device=META_DEVICE)
        memo[id(each)] = nn.Parameter(shape, each.requires_grad) if isinstance(each, nn.Parameter) else shape
    trainer, model._trainer = model._trainer, None
    try:
        return copy.deepcopy(model, memo).to(META_DEVICE)
    finally:
        model._trainer = trainer


def count_flops_per_sample(model: LightningModule, inputs: Any, training: bool = True) -> float:
    """Return the floating-point operations of a sample; a multiplication and its addition are two.

    Args:
        model: what maps inputs to logits.
        inputs: a batch of tensors, or of tensors in a dictionary; only shapes and types matter.
        training: count the backward pass, too.
    """
    twin = copy_to_meta(model).train(training)
    for each in twin.modules():
        if isinstance(each, nn.SyncBatchNorm):  # it refuses all but GPUs; its arithmetic is that of any other
            each.forward = partial(_BatchNorm.forward, each)  # type: ignore[method-assign]
    # Two samples: batch normalisation refuses one.
    few = tree_map_only(
        Tensor, lambda each: torch.empty(2, *each.shape[1:], dtype=each.dtype, device=META_DEVICE), inputs
    )
    with torch.set_grad_enabled(training), torch.random.fork_rng(devices=[]):
        return measure_flops(twin, lambda: twin(few), Tensor.sum if training else None) / 2
