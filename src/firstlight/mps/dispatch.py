"""Make torch's `meta` device choose the operators that MPS would: shapes and types without memory or arithmetic."""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

aten = torch.ops.aten
# MPS's own key would replace kernels that a Mac uses; nothing here runs on an Intel GPU.
KEY, KEY_DEVICE = "AutocastXPU", "xpu"
# What autocast("mps") runs in half precision; ATen/autocast_mode.cpp of torch 2.15.
LOWER_PRECISION_OPS = re.compile(
    r"_convolution|_mps_convolution|convolution|conv[123]d|conv_tbc|conv_transpose[123]d|prelu|linear|matmul|mm|mv|bmm"
    r"|addmm|addmv|addr|addbmm|baddbmm|chain_matmul|einsum|linalg_multi_dot|lstm_cell"
)
# What takes the widest type of its arguments. The other operators that are registered with autocast run in float32.
PROMOTED_OPS = re.compile("addcdiv|addcmul|atan2|bilinear|cross|dot|grid_sampler|index_put|scatter_add|tensordot")
ATTENTION = "scaled_dot_product_attention"


@contextlib.contextmanager
def mps_dispatch(precision: str) -> Iterator[None]:
    """Within it, `meta` tensors meet the kernels of MPS, and `autocast` casts for this precision.

    Args:
        precision: Lightning's name.
    """
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    library: Any = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*may also be overridden|.*Overriding a previously registered")
            for kernel in (linear, max_pool2d, max_pool2d_backward, _scaled_dot_product_attention_math_for_mps):
                # Library.impl() refuses Meta kernels of composite operators; MPS has kernels of its own for these.
                library.m.impl(kernel.__name__, "Meta", kernel, False)
            # From torch 2.15 on, MPS keeps a byte per number for dropout instead of a float (pytorch#195011).
            if torch.__version__ >= "2.15":
                library.impl("dropout", dropout, "AutogradMeta")
            library.impl(ATTENTION, _attention(half), KEY)
            for name in _list_autocast_ops() if half else ():
                lower = LOWER_PRECISION_OPS.fullmatch(name.partition(".")[0])
                library.impl(name, _cast(name, half if half and lower else torch.float32), KEY)
        yield
    finally:
        library._destroy()


@contextlib.contextmanager
def mps_autocast() -> Iterator[None]:
    """Within it, the casts and the attention that `as_mps` brings apply, as in a forward pass on a Mac."""
    before = torch.is_autocast_enabled(KEY_DEVICE)
    torch.set_autocast_enabled(KEY_DEVICE, True)
    try:
        with torch._C._IncludeDispatchKeyGuard(getattr(torch._C.DispatchKey, KEY)):
            yield
    finally:
        torch.set_autocast_enabled(KEY_DEVICE, before)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the shape of a linear layer's result, (..., features)."""
    return inputs.new_empty((*inputs.shape[:-1], weight.shape[0]))


def max_pool2d(inputs: Tensor, kernel_size: list[int], *rest: Any) -> Tensor:
    """Return the shape of max-pooling; MPS keeps no indices for the backward pass."""
    return aten.max_pool2d_with_indices(inputs, kernel_size, *rest)[0]


def max_pool2d_backward(gradient: Tensor, inputs: Tensor, *rest: Any) -> Tensor:
    """Return the shape of max-pooling's gradient."""
    return torch.empty_like(inputs)


def _scaled_dot_product_attention_math_for_mps(
    query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any
) -> tuple[Tensor, Tensor]:
    """Return the shapes of the output (..., tokens, width) and the weights (..., tokens, tokens) of attention."""
    shape = query.shape[:-1]
    return query.new_empty((*shape, value.shape[-1])), query.new_empty((*shape, key.shape[-2]))


def dropout(inputs: Tensor, share: float, training: bool) -> Tensor:
    """Return the shape of dropout, by way of the operator that keeps a mask of bytes."""
    if not training or share == 0 or not inputs.numel():
        return inputs
    return aten.native_dropout(inputs, share, training)[0]


def _attention(half: torch.dtype | None) -> Callable[..., Tensor]:
    def attend(*args: Any, **more: Any) -> Tensor:
        # Positions of the schema: query, key, value, attn_mask, dropout_p, is_causal.
        dropout = len(args) > 4 and args[4] > 0
        learns = torch.is_grad_enabled() and any(each.requires_grad for each in args[:3])
        path = "_scaled_dot_product_attention_math" + ("" if learns or dropout else "_for_mps")
        args = tuple(_cast_tensors(half, args) if half else args)
        if len(args) > 3 and args[3] is not None and args[3].dtype == torch.bool:
            added = torch.zeros_like(args[3], dtype=args[0].dtype)
            args = (*args[:3], added.masked_fill_(args[3].logical_not(), -torch.inf), *args[4:])
        with _exclude_dispatch_key():
            return getattr(aten, path)(*args, **more)[0]

    return attend


def _cast(name: str, dtype: torch.dtype) -> Callable[..., Any]:
    base, _, overload = name.partition(".")
    operator = getattr(getattr(aten, base), overload or "default")

    def run(*args: Any, **kwargs: Any) -> Any:
        with _exclude_dispatch_key():
            return operator(*_cast_tensors(dtype, args), **kwargs)

    return run


def _cast_tensors(dtype: torch.dtype, value: Any) -> Any:
    """Cast what autocast would: all floating tensors on the device but float64."""
    if isinstance(value, Tensor):
        fits = value.is_meta and value.is_floating_point() and value.dtype != torch.float64
        return value.to(dtype) if fits else value
    return [_cast_tensors(dtype, each) for each in value] if isinstance(value, list | tuple) else value


def _list_autocast_ops() -> list[str]:
    """Return the operators that torch registers with autocast("mps"), all but those with a rule of their own."""
    registered = [
        name.removeprefix("aten::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastMPS")
    ]
    return [name for name in registered if name != ATTENTION and not PROMOTED_OPS.fullmatch(name.partition(".")[0])]


def _exclude_dispatch_key() -> Any:
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, KEY)))
