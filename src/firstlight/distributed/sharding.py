"""Shard a network across devices with FSDP2, and update and clip its shards with little work for the host."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, Adam, AdamW, Optimizer

from firstlight.distributed.deferred_init import Materializer, has_meta_tensors
from firstlight.distributed.repeated_blocks import find_repeated_blocks

# Consecutive blocks are gathered together up to this number of parameters: each gathering costs the host about 1 ms
# (BERT-base on a CPU: 48 ms per step with 13 groups, 15 ms without FSDP), and small messages use links badly.
GROUP_MIN_PARAMS = 100_000_000
# Smaller networks stay gathered between the forward and the backward pass: 2 GB in bf16, for half of the messages.
RESHARD_MIN_PARAMS = 1_000_000_000
# Optimizers that update each element on its own, so that a shard can be updated without the others.
ELEMENTWISE_OPTIMIZERS = (SGD, Adam, AdamW)
# Added to the norm, as torch.nn.utils.clip_grad_norm_ does.
CLIP_EPSILON = 1e-6


def apply_fsdp(network: nn.Module, mesh: Any, precision: str = "32-true") -> None:
    """Shard a network across devices, so that only the blocks in use are gathered; initialize a deferred network.

    With bf16-mixed, parameters are gathered in bf16; weights and gradients stay in float32. Groups with batch norms,
    whose kernels need statistics and weights of one type, are gathered in float32.

    Source: Y. Zhao et al., PyTorch FSDP, 2023, arXiv:2304.11277; `fully_shard` is its second version in torch.

    Args:
        network: The network, modified in place.
        mesh: Device mesh of the data-parallel dimension.
        precision: Lightning's name of the precision.
    """
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    if isinstance(network, FSDPModule):
        return  # sharded by an earlier fit
    reshards = sum(param.numel() for param in network.parameters()) >= RESHARD_MIN_PARAMS

    def shard(modules: list[nn.Module]) -> None:
        has_norm = any(isinstance(part, _BatchNorm) for module in modules for part in module.modules())
        dtype = torch.bfloat16 if precision == "bf16-mixed" and not has_norm else None
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32 if dtype else None)
        target: Any = modules if len(modules) > 1 else modules[0]
        fully_shard(target, mesh=mesh, mp_policy=policy, reshard_after_forward=reshards)

    groups = group_blocks(find_repeated_blocks(network))
    # A deferred network is initialized group by group: no device has to hold it at once.
    materializer = Materializer(network, mesh.device_type) if has_meta_tensors(network) else None
    with isolate_rng():
        torch.manual_seed(int(os.environ.get("PL_GLOBAL_SEED", 0)))  # the same values on all ranks
        for group in [*(groups if len(groups) > 1 else []), [network]]:
            if materializer:
                materializer.initialize(group)
            shard(group)


def group_blocks(blocks: list[nn.Module]) -> list[list[nn.Module]]:
    """Divide blocks into groups of consecutive blocks, each with at least `GROUP_MIN_PARAMS` parameters if possible."""
    groups: list[list[nn.Module]] = []
    num_params = GROUP_MIN_PARAMS
    for block in blocks:
        if num_params >= GROUP_MIN_PARAMS:
            groups.append([])
            num_params = 0
        groups[-1].append(block)
        num_params += sum(param.numel() for param in block.parameters())
    return groups


def supports_local_step(optimizer: Optimizer) -> bool:
    """Return True if an optimizer can update the shard of this rank without the other shards."""
    return type(optimizer) in ELEMENTWISE_OPTIMIZERS


@contextmanager
def replace_by_local_shards(optimizer: Optimizer) -> Iterator[None]:
    """Let an optimizer update the local shards as plain tensors.

    An operation on DTensors takes the host several times as long: an AdamW step of BERT-base 5.3 instead of 1.0 ms.

    Args:
        optimizer: One of `ELEMENTWISE_OPTIMIZERS`, whose parameters have their gradients.
    """
    groups, saved_state = optimizer.param_groups, optimizer.state
    saved_params = [group["params"] for group in groups]
    locals_by_param = {param: make_local(param) for params in saved_params for param in params}
    optimizer.state = type(saved_state)(saved_state.default_factory)  # type: ignore[attr-defined]
    for param, local in locals_by_param.items():
        if param in saved_state:
            optimizer.state[local] = {name: to_local(value) for name, value in saved_state[param].items()}
    for group in groups:
        group["params"] = [locals_by_param[param] for param in group["params"]]
    try:
        yield
    finally:
        local_state, optimizer.state = optimizer.state, saved_state
        for group, params in zip(groups, saved_params, strict=True):
            group["params"] = params
        for param, local in locals_by_param.items():
            before = saved_state.get(param, {})
            for name, value in local_state.get(local, {}).items():
                if to_local(before.get(name)) is not value:
                    saved_state[param][name] = shard_like(value, param)


def make_local(param: nn.Parameter) -> nn.Parameter:
    """Return the local shard of a parameter and of its gradient; both share the memory."""
    local = nn.Parameter(to_local(param.data), requires_grad=param.requires_grad)
    local.grad = to_local(param.grad)
    return local


def to_local(value: Any) -> Any:
    """Return the local shard of a DTensor; any other value unchanged."""
    return value._local_tensor if isinstance(value, DTensor) else value


def shard_like(value: Any, param: Tensor) -> Any:
    """Return a local shard of an optimizer state as a DTensor; any other value, such as a step count, unchanged."""
    if not isinstance(param, DTensor) or not isinstance(value, Tensor):
        return value
    if value.ndim == 0 or value.shape != param._local_tensor.shape:
        return value
    mesh, placements = param.device_mesh, param.placements
    return DTensor.from_local(value, mesh, placements, run_check=False, shape=param.shape, stride=param.stride())


@torch.no_grad()
def clip_shards(params: Iterable[nn.Parameter], max_norm: float) -> None:
    """Clip the norm of the gradients of all ranks, as `torch.nn.utils.clip_grad_norm_` does, on local shards.

    Args:
        params: Sharded parameters.
        max_norm: Maximum norm.
    """
    params = [param for param in params if param.grad is not None]
    gradients: list[Any] = [param.grad for param in params]
    if not gradients or not all(isinstance(gradient, DTensor) for gradient in gradients):
        nn.utils.clip_grad_norm_(params, max_norm)
        return
    shards = [to_local(gradient) for gradient in gradients]
    squared = nn.utils.get_total_norm(shards).square()
    dist.all_reduce(squared, group=gradients[0].device_mesh.get_group())
    factor = (max_norm / (squared.sqrt() + CLIP_EPSILON)).clamp(max=1.0)
    torch._foreach_mul_(shards, factor)
