"""Simulate on `meta` tensors which operators MPS would use: shapes and dtypes without memory or arithmetic."""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

aten = torch.ops.aten
# Kernels registered with AutocastMPS would replace those that a Mac uses. The key of Intel GPUs is free, because the
# dry run never uses such a GPU.
KEY, KEY_DEVICE = "AutocastXPU", "xpu"
# Operators that autocast("mps") runs in half precision (ATen/autocast_mode.cpp, torch 2.15).
LOWER_PRECISION_OPS = re.compile(
    r"_convolution|_mps_convolution|convolution|conv[123]d|conv_tbc|conv_transpose[123]d|prelu|linear|matmul|mm|mv|bmm"
    r"|addmm|addmv|addr|addbmm|baddbmm|chain_matmul|einsum|linalg_multi_dot|lstm_cell"
)
# Operators that autocast runs in the widest dtype of their arguments. The other registered operators run in float32.
PROMOTED_OPS = re.compile("addcdiv|addcmul|atan2|bilinear|cross|dot|grid_sampler|index_put|scatter_add|tensordot")
ATTENTION = "scaled_dot_product_attention"


@contextlib.contextmanager
def simulate_mps_dispatch(precision: str) -> Iterator[None]:
    """Context manager in which `meta` tensors use the kernels of MPS, and autocast casts for a precision.

    Args:
        precision: Lightning's name of the precision, such as "bf16-mixed".
    """
    half_dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    library: Any = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*may also be overridden|.*Overriding a previously registered")
            for name, kernel in SHAPE_KERNELS.items():
                # Library.impl() rejects Meta kernels for composite operators, for which MPS has its own kernels.
                library.m.impl(name, "Meta", kernel, False)
            # Since torch 2.15, MPS stores the dropout mask as one byte per element instead of a float (pytorch#195011).
            if torch.__version__ >= "2.15":
                library.impl("dropout", fake_dropout_output, "AutogradMeta")
            library.impl(ATTENTION, _make_attention_kernel(half_dtype), KEY)
            for name in _list_autocast_ops() if half_dtype else ():
                is_lower = LOWER_PRECISION_OPS.fullmatch(name.partition(".")[0])
                dtype = half_dtype if half_dtype and is_lower else torch.float32
                library.impl(name, _make_casting_kernel(name, dtype), KEY)
        yield
    finally:
        library._destroy()


@contextlib.contextmanager
def simulate_mps_autocast() -> Iterator[None]:
    """Context manager that enables the casts and the attention of `mps_dispatch`, for a forward pass."""
    before = torch.is_autocast_enabled(KEY_DEVICE)
    torch.set_autocast_enabled(KEY_DEVICE, True)
    try:
        with torch._C._IncludeDispatchKeyGuard(getattr(torch._C.DispatchKey, KEY)):
            yield
    finally:
        torch.set_autocast_enabled(KEY_DEVICE, before)


def fake_linear_output(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return an empty output of a linear layer, (..., features)."""
    return inputs.new_empty((*inputs.shape[:-1], weight.shape[0]))


def fake_max_pool2d_output(inputs: Tensor, kernel_size: list[int], *rest: Any) -> Tensor:
    """Return an empty output of max pooling. MPS stores no indices for the backward pass."""
    return aten.max_pool2d_with_indices(inputs, kernel_size, *rest)[0]


def fake_max_pool2d_gradient(gradient: Tensor, inputs: Tensor, *rest: Any) -> Tensor:
    """Return an empty gradient of max pooling."""
    return torch.empty_like(inputs)


def fake_attention_output(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any) -> tuple[Tensor, Tensor]:
    """Return an empty output (..., tokens, width) and empty weights (..., tokens, tokens) of attention."""
    shape = query.shape[:-1]
    return query.new_empty((*shape, value.shape[-1])), query.new_empty((*shape, key.shape[-2]))


def fake_dropout_output(inputs: Tensor, p: float, train: bool) -> Tensor:
    """Return an empty output of dropout, using the operator that stores a mask of bytes."""
    if not train or p == 0 or not inputs.numel():
        return inputs
    return aten.native_dropout(inputs, p, train)[0]


# By the name of the operator.
SHAPE_KERNELS: dict[str, Callable[..., Any]] = {
    "linear": fake_linear_output,
    "max_pool2d": fake_max_pool2d_output,
    "max_pool2d_backward": fake_max_pool2d_gradient,
    "_scaled_dot_product_attention_math_for_mps": fake_attention_output,
}


def _make_attention_kernel(half_dtype: torch.dtype | None) -> Callable[..., Tensor]:
    """Return an attention kernel that selects the implementation that MPS would select."""

    def attend(*args: Any, **kwargs: Any) -> Tensor:
        # Positions in the schema: query, key, value, attn_mask, dropout_p, is_causal.
        has_dropout = len(args) > 4 and args[4] > 0
        needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in args[:3])
        name = "_scaled_dot_product_attention_math" + ("" if needs_grad or has_dropout else "_for_mps")
        args = tuple(_cast_tensors(half_dtype, args) if half_dtype else args)
        if len(args) > 3 and args[3] is not None and args[3].dtype == torch.bool:
            bias = torch.zeros_like(args[3], dtype=args[0].dtype)
            args = (*args[:3], bias.masked_fill_(args[3].logical_not(), -torch.inf), *args[4:])
        with _exclude_dispatch_key():
            return getattr(aten, name)(*args, **kwargs)[0]

    return attend


def _make_casting_kernel(name: str, dtype: torch.dtype) -> Callable[..., Any]:
    """Return a kernel that casts its positional arguments to a dtype before it calls the operator."""
    base, _, overload = name.partition(".")
    operator = getattr(getattr(aten, base), overload or "default")

    def run(*args: Any, **kwargs: Any) -> Any:
        with _exclude_dispatch_key():
            return operator(*_cast_tensors(dtype, args), **kwargs)

    return run


def _cast_tensors(dtype: torch.dtype, value: Any) -> Any:
    """Cast the tensors that autocast casts: floating-point tensors on the device, except float64."""
    if isinstance(value, Tensor):
        is_cast = value.is_meta and value.is_floating_point() and value.dtype != torch.float64
        return value.to(dtype) if is_cast else value
    return [_cast_tensors(dtype, item) for item in value] if isinstance(value, list | tuple) else value


def _list_autocast_ops() -> list[str]:
    """Return the operators that torch registers with autocast("mps"), except attention and promoted operators."""
    registered = [
        name.removeprefix("aten::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastMPS")
    ]
    return [name for name in registered if name != ATTENTION and not PROMOTED_OPS.fullmatch(name.partition(".")[0])]


def _exclude_dispatch_key() -> Any:
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, KEY)))
