"""Count FLOPs on a copy of the model whose tensors have shapes but no data."""

import copy
from functools import partial
from typing import Any, TypeVar

import torch
from lightning.fabric.utilities.throughput import measure_flops
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only

from firstlight.model.activation_checkpointing import disable_activation_checkpointing

META_DEVICE = torch.device("meta")

M = TypeVar("M", bound=LightningModule)


def copy_to_meta(model: M) -> M:
    """Copy a model to the meta device: the data of its weights and buffers is not copied."""
    memo: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        empty = torch.empty_like(tensor, device=META_DEVICE)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    trainer, model._trainer = model._trainer, None
    try:
        return copy.deepcopy(model, memo).to(META_DEVICE)
    finally:
        model._trainer = trainer


def count_flops_per_sample(model: LightningModule, inputs: Any, training: bool = True) -> float:
    """Return the FLOPs per sample. A multiply-add counts as two.

    Args:
        model: Maps inputs to logits.
        inputs: A batch, as a tensor or a dictionary of tensors. Only shapes and dtypes matter.
        training: Whether to include the backward pass.
    """
    meta_model = copy_to_meta(model).train(training)
    disable_activation_checkpointing(meta_model)  # repeated operations do not count
    for module in meta_model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            # SyncBatchNorm runs only on GPUs. BatchNorm has the same FLOPs.
            module.forward = partial(_BatchNorm.forward, module)  # type: ignore[method-assign]
    # Two samples, because BatchNorm rejects a single one in training.
    meta_inputs = tree_map_only(
        Tensor, lambda tensor: torch.empty(2, *tensor.shape[1:], dtype=tensor.dtype, device=META_DEVICE), inputs
    )
    with torch.set_grad_enabled(training), torch.random.fork_rng(devices=[]):
        return measure_flops(meta_model, lambda: meta_model(meta_inputs), Tensor.sum if training else None) / 2
