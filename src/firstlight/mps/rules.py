"""Rules that decide from the name, shapes and dtypes of an operator whether MPS supports it."""

import functools
import importlib.resources
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

# Operators without a kernel in the list, which torch's MPS backend itself runs on the CPU.
SILENT_FALLBACK = {"aten::embedding_renorm_"}
# Operators for which torchvision ships Metal kernels, each with its backward pass.
TORCHVISION = {"nms", "roi_align", "ps_roi_align", "ps_roi_pool", "roi_pool", "deform_conv2d"}
# Operators that raise on MPS, as listed in the documentation of torch.use_deterministic_algorithms (torch 2.15).
NONDETERMINISTIC_OPS = re.compile(
    r"max_pool2d_backward|max_pool[23]d_with_indices_backward|avg_pool3d_backward|embedding_dense_backward"
    r"|_embedding_bag_(dense_)?backward|grid_sampler_[23]d_backward|scatter_reduce_?|kthvalue"
    r"|upsample_(linear1d|bilinear2d|bicubic2d|trilinear3d)_backward"
)
# On M1 and M2, longer matrix products were wrong before torch 2.14 (pytorch#177116), and batched ones are still wrong
# (pytorch#195163).
MAX_REDUCTION_LENGTH = 32766


FindingKind = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """An operation that MPS does not support, or not on every Mac.

    Attributes:
        kind: "error" if the run would fail, else "warning".
        problem: A sentence without its period.
        fix: An imperative sentence with a period; empty if there is none.
        location: Module and line of the operation.
        is_m1_m2_only: Whether only M1 and M2 are affected.
    """

    kind: FindingKind
    problem: str
    fix: str = ""
    location: str = ""
    is_m1_m2_only: bool = False


@functools.cache
def get_mps_operator_support() -> dict[str, bool]:
    """Return whether MPS supports an operator, for each of torch's operators by name and overload.

    Each wheel of torch contains torchgen's native_functions.yaml, which is identical on macOS and Linux. The file is
    parsed line by line, because a YAML parser would take half a second.
    """
    file = importlib.resources.files("torchgen") / "packaged/ATen/native/native_functions.yaml"
    support: dict[str, bool] = {}
    delegates: dict[str, str] = {}
    for entry in file.read_text(encoding="utf-8").split("\n- func: ")[1:]:
        name = entry.partition("(")[0]
        has_kernel = re.search(r"^    .*\b(MPS|Composite\w+)\b.*:", entry, re.M) is not None
        if (delegate := re.search(r"^  structured_delegate: (\S+)", entry, re.M)) and not has_kernel:
            delegates[name] = delegate[1]
        # An entry without kernels is composed of other operators.
        support[name] = has_kernel or "\n  dispatch:\n" not in entry
    return support | {name: support[delegate] for name, delegate in delegates.items()}


def check_operator(name: str, args: Sequence[Any], outputs: list[Tensor]) -> list[Finding]:
    """Check one call of an operator, regardless of trainer.deterministic.

    Args:
        name: Name with namespace and overload, such as "aten::add.Tensor".
        args: Positional arguments of the call.
        outputs: Results on the device.
    """
    base = name.partition("::")[2].partition(".")[0]
    findings = [_check_kernel(name, base)]
    if dtypes := [output.dtype for output in outputs if output.dtype in (torch.float64, torch.complex128)]:
        problem = f"{base} returns {dtypes[0]}, which MPS does not support"
        findings.append(Finding("error", problem, "Use a 32-bit dtype."))
    if base in ("_adaptive_avg_pool2d", "adaptive_max_pool2d"):
        findings.append(_check_adaptive_pool(base, list(args[0].shape[-2:]), list(args[1])))
    if (length := _get_reduction_length(base, args)) > MAX_REDUCTION_LENGTH:
        problem = (
            f"{base} reduces over {length:,} elements, and on M1 and M2, reductions over more than "
            f"{MAX_REDUCTION_LENGTH:,} may be wrong"
        )
        fix = "Use a smaller batch, shorter sequences or fewer features."
        findings.append(Finding("warning", problem, fix, is_m1_m2_only=True))
    return [finding for finding in findings if finding]


def is_nondeterministic(name: str, args: Sequence[Any]) -> bool:
    """Return True if trainer.deterministic=true forbids an operator on MPS."""
    base = name.partition("::")[2].partition(".")[0]
    is_inexact = bool(args) and isinstance(args[0], Tensor) and (args[0].is_floating_point() or args[0].is_complex())
    if base in ("index_put", "index_put_", "_index_put_impl_"):
        return is_inexact and len(args) > 3 and bool(args[3])
    if base in ("index_reduce", "index_reduce_"):
        return is_inexact and args[4] in ("prod", "mean")
    return NONDETERMINISTIC_OPS.fullmatch(base) is not None


def _check_kernel(name: str, base: str) -> Finding | None:
    namespace, _, overload = name.partition("::")
    has_metal_kernel = base.strip("_").removesuffix("_backward") in TORCHVISION
    support = {"aten": get_mps_operator_support().get(overload, True), "torchvision": has_metal_kernel}
    if namespace not in support and torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"):
        return None
    if namespace not in (*support, "prim", "prims", "profiler"):
        return Finding("warning", f"{name} was not checked, because it is an operator of another library")
    if support.get(namespace, True) or name in SILENT_FALLBACK:
        return None
    if os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
        return Finding("warning", f"{name} has no MPS kernel and falls back to the CPU, which is slow")
    fix = "Use another operator, or set PYTORCH_ENABLE_MPS_FALLBACK=1."
    return Finding("error", f"{name} has no MPS kernel", fix)


def _check_adaptive_pool(base: str, input_size: list[int], output_size: list[int]) -> Finding | None:
    pairs = list(zip(input_size, output_size, strict=True))
    is_reduction = all(size >= target and size % target == 0 for size, target in pairs)
    if is_reduction or all(size <= target and target % size == 0 for size, target in pairs):
        return None
    sizes = " to ".join(" x ".join(map(str, size)) for size in (input_size, output_size))
    problem = f"{base} from {sizes} is not supported on MPS, where one size must divide the other"
    return Finding("error", problem, "Change the image size.")


def _get_reduction_length(base: str, args: Sequence[Any]) -> int:
    """Return the length of the longest reduction in a matrix product, or 0 for any other operator."""
    if base in ("mm", "bmm", "linear"):
        return int(args[0].shape[-1])
    if base in ("addmm", "baddbmm"):
        return int(args[1].shape[-1])
    if base == "linear_backward":  # arguments: input, gradient (..., features), weight
        return max(args[1].numel() // args[1].shape[-1], args[1].shape[-1])
    return 0
