"""All operators that `make doctor gpu=true` checks.

The numbers are issues of pytorch/pytorch in which MPS returned a wrong result without an error, up to torch 2.15.
"""

import torch
from torch import Tensor
from torch.nn import functional

from firstlight.check_gpu.image_operators import CALL_CONTIGUOUS, CONVOLUTIONS, FLOAT32, NORMALIZATION, POOLING
from firstlight.check_gpu.long_reductions import LONG_REDUCTIONS
from firstlight.check_gpu.operator_check import OperatorCase, Shapes

TOKENS: Shapes = {"query": (2, 3, 17, 8), "key": (2, 3, 17, 8), "value": (2, 3, 17, 8)}


def make_indices(like: Tensor, length: int, num_values: int) -> Tensor:
    """Return integers from 0 to `num_values` - 1, (length,), in an irregular order and with repetitions."""
    return torch.arange(length, device=like.device) ** 2 % num_values


def apply_masked_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend to all but the last tokens, as in a padded batch."""
    mask = (torch.arange(key.shape[2], device=key.device) < key.shape[2] - 4)[None, None, None]
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def add_at_repeated_indices(values: Tensor) -> Tensor:
    """Add rows at repeated indices, (5, columns)."""
    indices = make_indices(values, len(values), 5)
    return values.new_zeros(5, values.shape[1]).index_put((indices,), values, accumulate=True)


def copy_rows(target: Tensor, source: Tensor) -> Tensor:
    """Replace rows of a transposed tensor. The indices of the rows are also not contiguous."""
    indices = torch.arange(2 * len(source), device=target.device)[::2]
    return target.t().index_copy(0, indices, source)


def scatter_into_permuted(values: Tensor) -> Tensor:
    """Scatter along the last dimension of a permuted tensor."""
    permuted = values.permute(0, 2, 1)
    indices = torch.arange(permuted.shape[2], device=values.device).flip(0).expand(permuted.shape)
    return torch.zeros_like(permuted).scatter_(2, indices, permuted)


def step_adamw(weights: Tensor, gradients: Tensor, is_fused: bool = False) -> Tensor:
    """Return transposed weights after two steps of AdamW."""
    param = torch.nn.Parameter(weights.detach().t())
    optimizer = torch.optim.AdamW([param], lr=0.1, weight_decay=0.1, fused=is_fused)
    for factor in (1.0, -0.3):
        param.grad = factor * gradients.detach().t()
        optimizer.step()
    return param.detach()


ACTIVATIONS = [
    OperatorCase(
        f"{name}, input not contiguous",
        lambda x, activation=activation: activation(x.permute(0, 3, 1, 2)),
        {"input": (2, 7, 4, 3)},
        mps_issue=issue,
        workaround=CALL_CONTIGUOUS,
    )
    for name, activation, issue in (
        ("tanh", torch.tanh, 175188),
        ("sigmoid", torch.sigmoid, 175188),
        ("silu", functional.silu, 175188),
        ("gelu", functional.gelu, 0),
    )
]

TEXT = [
    OperatorCase("softmax over rows", lambda x: x.softmax(1), {"input": (2, 37, 5)}),
    OperatorCase(
        "cross entropy, large logits",
        lambda x: functional.cross_entropy(100 * x, make_indices(x, len(x), 10), reduction="none"),
        {"logits": (16, 10)},
        FLOAT32,
        mps_issue=94043,
        workaround="Update torch.",
    ),
    OperatorCase("attention, masked", apply_masked_attention, TOKENS),
    OperatorCase(
        "attention, causal",
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        TOKENS,
    ),
    OperatorCase(
        "embedding, repeated tokens",
        lambda w: functional.embedding(make_indices(w, 60, 11), w, padding_idx=0),
        {"weight": (11, 8)},
    ),
    OperatorCase("accumulation at repeated indices", add_at_repeated_indices, {"values": (300, 4)}, FLOAT32),
    OperatorCase(
        "index_copy, not contiguous",
        copy_rows,
        {"target": (4, 6), "source": (3, 4)},
        mps_issue=160993,
        workaround="Update torch.",
    ),
    OperatorCase(
        "scatter into a permuted tensor",
        scatter_into_permuted,
        {"values": (2, 7, 5)},
        mps_issue=115152,
        workaround=CALL_CONTIGUOUS,
    ),
]

OPTIMIZERS = [
    OperatorCase(
        "AdamW, transposed weights",
        step_adamw,
        {"weights": (5, 7), "gradients": (5, 7)},
        FLOAT32,
        118115,
        "Update torch.",
    ),
    OperatorCase(
        "AdamW, fused, transposed weights",
        lambda w, g: step_adamw(w, g, is_fused=True),
        {"weights": (5, 7), "gradients": (5, 7)},
        FLOAT32,
        workaround="Set trainer.fused_optimizer=false.",
    ),
]

OPERATORS = [*LONG_REDUCTIONS, *CONVOLUTIONS, *NORMALIZATION, *POOLING, *ACTIVATIONS, *TEXT, *OPTIMIZERS]
