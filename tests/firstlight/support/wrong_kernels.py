"""Replace a kernel of an accelerator by one that computes a wrong result, as published faults of MPS do."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.library import Library
from torch.utils._pytree import tree_map_only


@contextmanager
def replace_kernel(
    name: str, corrupt: Callable[[Any, tuple[Any, ...]], Any], accelerator: str = "mps"
) -> Iterator[None]:
    """Replace the kernel of an operator.

    Args:
        name: Name of the operator, with its overload, such as "sum.dim_IntList".
        corrupt: Maps the right outputs and the arguments, all on the CPU, to the outputs of the kernel.
        accelerator: "mps", also if it is emulated, or "cuda".
    """
    base, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, base), overload or "default")

    def run(*args: Any, **kwargs: Any) -> Any:
        host_args, host_kwargs = tree_map_only(Tensor, lambda tensor: tensor.cpu(), (args, kwargs))
        outputs = corrupt(operator(*host_args, **host_kwargs), host_args)
        if base.endswith("_"):  # writes into its first argument
            return args[0].copy_(outputs)
        return tree_map_only(Tensor, lambda tensor: tensor.to(accelerator), outputs)

    library: Any = Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Overriding a previously registered")
        library.impl(name, run, accelerator.upper())
    try:
        yield
    finally:
        library._destroy()


def scale_output(index: int, factor: float, condition: Callable[..., bool] = lambda *args: True) -> Callable[..., Any]:
    """Return a function that scales one of several outputs if the arguments of the kernel meet a condition."""

    def corrupt(outputs: Any, args: tuple[Any, ...]) -> Any:
        scaled = [out * factor if position == index else out for position, out in enumerate(outputs)]
        return tuple(scaled) if condition(*args) else outputs

    return corrupt


def add_one_term(outputs: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Add the first product once more to a batched matrix product over 32,767 or more elements (pytorch#195163)."""
    left, right = args
    return outputs if left.shape[2] < 32_767 else outputs + left[:, :, :1] @ right[:, :1]


def drop_last_elements(outputs: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Leave the last 100 elements out of a sum over more than 65,536."""
    is_long = args[0].shape[-1] > 2**16
    return args[0][..., :-100].sum(*args[1:]) if is_long else outputs


def flip_weight_gradient(outputs: Any, args: tuple[Any, ...]) -> Any:
    """Flip the kernels in the weight gradient of a strided and grouped convolution."""
    stride, groups = args[4], args[9]
    to_input, to_weight, to_bias = outputs
    return (to_input, to_weight.flip(-1, -2), to_bias) if groups > 1 and max(stride) > 1 else outputs


def flip_input_gradient(outputs: Any, args: tuple[Any, ...]) -> Any:
    """Flip and triple the input gradient of a convolution with kernels of 3 x 3."""
    to_input, *others = outputs
    is_wrong = to_input is not None and args[2].shape[-1] == 3
    return (3 * to_input.flip(-1) if is_wrong else to_input, *others)


def drop_last_tile(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that leaves the last 64 elements out of a long mean, variance or norm."""

    def corrupt(outputs: Tensor, args: tuple[Any, ...]) -> Tensor:
        return function(args[0][..., :-64]).reshape(outputs.shape)

    return corrupt


def ignore_last_row(outputs: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Leave the last row out of a convolution with kernels of 256 or more rows (pytorch#188335)."""
    images, kernels, *others = args
    if kernels.shape[2] < 256:
        return outputs
    kernels = kernels.clone()
    kernels[:, :, 255:] = 0
    return torch.ops.aten.convolution(images, kernels, *others)


def clamp_small_variance(outputs: Any, args: tuple[Any, ...]) -> Any:
    """Compute the variance of a layer norm in one pass, and replace values below 1e-6 by 0 (pytorch#186367)."""
    values, _, weight, bias, eps = args
    mean = values.mean(-1, keepdim=True)
    variance = (values * values).mean(-1, keepdim=True) - mean * mean
    variance = torch.where(variance < 1e-6, 0.0, variance)
    return ((values - mean) * torch.rsqrt(variance + eps) * weight + bias, *outputs[1:])


def write_as_contiguous(outputs: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Write the elements of a result into the memory as if it were contiguous (pytorch#115152, pytorch#160993)."""
    target = args[0]
    return outputs if target.is_contiguous() else outputs.flatten().as_strided(target.shape, target.stride())


def ignore_sum(outputs: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Leave the sum out of the gradient of a softmax."""
    return args[0] * args[1]


def count_once(outputs: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Write the last of several gradients of a token instead of their sum."""
    gradients, indices = args[:2]
    result = torch.zeros_like(outputs)
    result[indices.flatten()] = gradients.flatten(0, -2)
    return result


def read_as_contiguous(outputs: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Read the elements of a gradient in the order of the memory (pytorch#175188)."""
    gradients, results = args[:2]
    if results.is_contiguous():
        return outputs
    in_memory_order = results.as_strided(results.shape, torch.empty(results.shape).stride())
    return gradients * (1 - in_memory_order**2)


def is_not_contiguous(gradient: Tensor, images: Tensor, *args: Any) -> bool:
    """Return True if the images of a backward pass are not contiguous."""
    return not images.is_contiguous()
