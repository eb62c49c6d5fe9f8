"""What MPS can run: rules on one operator's name, shapes and types."""

import functools
import importlib.resources
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

# Without a kernel in the list, but its one user is sent to the CPU by torch's MPS backend itself.
SILENT_FALLBACK = {"aten::embedding_renorm_"}
# Metal kernels that come with torchvision, each with its backward pass.
TORCHVISION = {"nms", "roi_align", "ps_roi_align", "ps_roi_pool", "roi_pool", "deform_conv2d"}
# torch.use_deterministic_algorithms (torch 2.15) lists what raises on MPS.
NONDETERMINISTIC_OPS = re.compile(
    r"max_pool2d_backward|max_pool[23]d_with_indices_backward|avg_pool3d_backward|embedding_dense_backward"
    r"|_embedding_bag_(dense_)?backward|grid_sampler_[23]d_backward|scatter_reduce_?|kthvalue"
    r"|upsample_(linear1d|bilinear2d|bicubic2d|trilinear3d)_backward"
)
# torch before 2.14 returned wrong products on M1 and M2 beyond it (pytorch#177116); batched ones still do (#195163).
MAX_REDUCTION_LENGTH = 32766


@dataclass(frozen=True)
class Finding:
    """What one operator does that MPS does not take, or not everywhere."""

    kind: Literal["fault", "warning"]
    text: str
    where: str = ""
    # Whether it holds for M1 and M2 alone.
    early_chips: bool = False


@functools.cache
def get_mps_operator_support() -> dict[str, bool]:
    """Return torch's operators by name and overload, and whether MPS runs them.

    torchgen's native_functions.yaml ships in each wheel of torch, the same for macOS and Linux. Read by lines: as YAML
    it would take half a second.
    """
    file = importlib.resources.files("torchgen") / "packaged/ATen/native/native_functions.yaml"
    own: dict[str, bool] = {}
    delegates: dict[str, str] = {}
    for entry in file.read_text(encoding="utf-8").split("\n- func: ")[1:]:
        name = entry.partition("(")[0]
        found = re.search(r"^    .*\b(MPS|Composite\w+)\b.*:", entry, re.M) is not None
        if (delegate := re.search(r"^  structured_delegate: (\S+)", entry, re.M)) and not found:
            delegates[name] = delegate[1]
        # An entry without kernels is made of other operators.
        own[name] = found or "\n  dispatch:\n" not in entry
    return own | {name: own[other] for name, other in delegates.items()}


def check_operator(name: str, args: Sequence[Any], outputs: list[Tensor]) -> list[Finding]:
    """Judge one call of an operator, whatever trainer.deterministic says.

    Args:
        name: with namespace and overload, such as aten::add.Tensor.
        args: its arguments.
        outputs: its results on the device.
    """
    base = name.partition("::")[2].partition(".")[0]
    found = [_check_kernel(name, base)]
    if doubles := [each.dtype for each in outputs if each.dtype in (torch.float64, torch.complex128)]:
        found.append(Finding("fault", f"{base} makes {doubles[0]}, which MPS does not have"))
    if base in ("_adaptive_avg_pool2d", "adaptive_max_pool2d"):
        found.append(_check_adaptive_pool(base, list(args[0].shape[-2:]), list(args[1])))
    if (length := _get_reduction_length(base, args)) > MAX_REDUCTION_LENGTH:
        text = f"{base} sums over {length} numbers, and M1 and M2 may get more than {MAX_REDUCTION_LENGTH} wrong"
        text += ": use a smaller batch, shorter texts or fewer features"
        found.append(Finding("warning", text, early_chips=True))
    return [each for each in found if each]


def is_nondeterministic(name: str, args: Sequence[Any]) -> bool:
    """Say whether trainer.deterministic=true refuses an operator on MPS."""
    base = name.partition("::")[2].partition(".")[0]
    inexact = bool(args) and isinstance(args[0], Tensor) and (args[0].is_floating_point() or args[0].is_complex())
    if base in ("index_put", "index_put_", "_index_put_impl_"):
        return inexact and len(args) > 3 and bool(args[3])
    if base in ("index_reduce", "index_reduce_"):
        return inexact and args[4] in ("prod", "mean")
    return NONDETERMINISTIC_OPS.fullmatch(base) is not None


def _check_kernel(name: str, base: str) -> Finding | None:
    space, _, overload = name.partition("::")
    metal = base.strip("_").removesuffix("_backward") in TORCHVISION
    known = {"aten": get_mps_operator_support().get(overload, True), "torchvision": metal}
    if space not in known and torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"):
        return None
    if space not in (*known, "prim", "prims", "profiler"):
        return Finding("warning", f"could not be judged: {name}, an operator of another library")
    if known.get(space, True) or name in SILENT_FALLBACK:
        return None
    if os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
        return Finding("warning", f"{name} has no MPS kernel and falls back to the CPU, which is slow")
    return Finding("fault", f"{name} has no MPS kernel: use another operator, or set PYTORCH_ENABLE_MPS_FALLBACK=1")


def _check_adaptive_pool(base: str, sizes: list[int], wanted: list[int]) -> Finding | None:
    pairs = list(zip(sizes, wanted, strict=True))
    shrinks = all(size >= to and size % to == 0 for size, to in pairs)
    if shrinks or all(size <= to and to % size == 0 for size, to in pairs):
        return None
    shapes = " to ".join(" x ".join(map(str, each)) for each in (sizes, wanted))
    return Finding("fault", f"{base} from {shapes}: on MPS one size must divide the other; change the image size")


def _get_reduction_length(base: str, args: Sequence[Any]) -> int:
    """Return the length of the longest sum in a matrix product; 0 for another operator."""
    if base in ("mm", "bmm", "linear"):
        return int(args[0].shape[-1])
    if base in ("addmm", "baddbmm"):
        return int(args[1].shape[-1])
    if base == "linear_backward":  # input, gradient (..., features), weight
        return max(args[1].numel() // args[1].shape[-1], args[1].shape[-1])
    return 0
