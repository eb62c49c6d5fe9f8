"""Compare one operator on the accelerator with the CPU: its output and its gradients."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight.check_gpu.results import REPORT, CheckResult, compare_tensors, format_difference, make_result

# Largest difference from float64 on the CPU, relative to the largest value of the same tensor. Several roundings add
# up in an operator: bfloat16 has 8 significant bits, so that one rounding changes a value by at most 2^-9 = 0.2 %, and
# float16 has 11 (2^-12 = 0.02 %). float32 has 24, but its sums may be ordered in any way, and some units multiply with
# 11 to 13 bits; PyTorch's own tests of MPS allow differences up to about 0.1 %. A kernel that reads wrong elements
# exceeds these limits many times.
TOLERANCES = {torch.float32: 0.001, torch.float16: 0.005, torch.bfloat16: 0.03}
DTYPES = (torch.float32, torch.bfloat16)
Shapes = dict[str, tuple[int, ...]]
# Random values behind each input. A kernel that reads beyond its input adds them; it would not be found in new memory,
# which is full of zeros.
NUM_VALUES_BEHIND = 4_096
UNSUPPORTED = ("not implemented", "not currently implemented", "not supported", "must be divisible by")


@dataclass(frozen=True)
class OperatorCase:
    """An operator with inputs for which a published version of a GPU library was wrong, or is likely to be.

    Attributes:
        name: The operator and the condition under which it is checked.
        run: Maps the inputs to the output.
        shapes: Shapes of the inputs by name. Their values are normally distributed, because in sums of random signs, a
            few missing or additional elements change the result visibly.
        dtypes: Dtypes on the accelerator.
        mps_issue: Number of a PyTorch issue or pull request in which MPS was wrong; 0: none is known.
        workaround: What to do if the result is wrong: an imperative sentence with a period.
    """

    name: str
    run: Callable[..., Tensor]
    shapes: Shapes
    dtypes: tuple[torch.dtype, ...] = DTYPES
    mps_issue: int = 0
    workaround: str = ""


def check_operator(case: OperatorCase, dtype: torch.dtype, device: torch.device) -> CheckResult:
    """Return how an operator on the accelerator compares with float64 on the CPU.

    Args:
        case: The operator.
        dtype: Dtype on the accelerator. The inputs of the CPU are rounded to it.
        device: The accelerator.

    Raises:
        ValueError: If the device is the CPU, which would be compared with itself.
    """
    if device.type == "cpu":
        raise ValueError("the device of the check must be an accelerator, got cpu")
    label = str(dtype).removeprefix("torch.")
    issue = f"pytorch#{case.mps_issue}" if case.mps_issue and device.type == "mps" else ""
    fix = case.workaround or REPORT
    expected = compute(case, dtype, torch.device("cpu"))
    try:
        found = compute(case, dtype, device)
    except Exception as error:  # a kernel can raise anything
        subject, reason = f"{case.name} ({label})", describe_kernel_error(error)
        if is_unsupported(error):
            text = f"{subject} is not supported ({reason})"
            return CheckResult("operator", case.name, label, "unsupported", issue=issue, message=text)
        text = f"{subject} fails ({reason})"
        return CheckResult("operator", case.name, label, "failed", issue=issue, message=text, fix=fix)
    worst = compare_tensors(expected, found, dict.fromkeys(expected, TOLERANCES[dtype]))[0]
    known = f", known as {issue}" if issue else ""
    message = f"{case.name} ({label}): {format_difference(worst)}{known}"
    return make_result("operator", case.name, label, worst, message, fix, issue)


def compute(case: OperatorCase, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Return the output and the gradients of an operator, in float64 on the CPU.

    Args:
        case: The operator.
        dtype: Dtype to which the inputs are rounded.
        device: Where to compute: the CPU in float64, an accelerator in the dtype.
    """
    generator, is_reference = torch.Generator().manual_seed(0), device.type == "cpu"

    def sample(shape: tuple[int, ...]) -> Tensor:
        values = torch.randn(shape, generator=generator)
        behind = torch.randn(NUM_VALUES_BEHIND, generator=generator)
        memory = torch.cat([values.flatten(), behind]).to(dtype).to(device, torch.float64 if is_reference else dtype)
        return memory[: values.numel()].view(shape)

    inputs = {name: sample(shape).requires_grad_() for name, shape in case.shapes.items()}
    output = case.run(*inputs.values())
    results = {"output": output}
    if output.requires_grad:
        output.backward(sample(tuple(output.shape)))  # type: ignore[no-untyped-call]
        results |= {f"gradient of {name}": tensor.grad for name, tensor in inputs.items() if tensor.grad is not None}
    return {name: tensor.detach().cpu().double() for name, tensor in results.items()}


def is_unsupported(error: Exception) -> bool:
    """Return True if an error says that the accelerator lacks an operator or a shape: no result is wrong then."""
    return isinstance(error, NotImplementedError) or any(words in str(error) for words in UNSUPPORTED)


def describe_kernel_error(error: Exception) -> str:
    """Return the class and the first sentence of an error; MPS continues with advice and links."""
    sentence = (str(error).splitlines() or [""])[0].partition(". ")[0]
    return f"{type(error).__name__}: {sentence}".rstrip(".: ")
