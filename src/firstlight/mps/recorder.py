"""Watch the operators that run on `meta`: what MPS would refuse, and how many bytes are alive."""

import bisect
import dataclasses
import functools
import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from firstlight.mps.rules import Finding, check_operator, is_nondeterministic

# What memory is used for; activations include gradients of activations and other temporaries.
MEMORY_CATEGORIES = ("weights", "gradients", "optimizer state", "activations", "inputs")
# Operators that may mix devices.
DEVICE_MIXING_OPS = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_", "set_"}
MPS_PACKAGE_DIR = Path(__file__).parent


class OperatorRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record operators, findings and bytes, and answer what only real numbers could answer.

    Args:
        model: its modules name the places of findings.
        deterministic: whether operators whose result varies are faults.
    """

    def __init__(self, model: nn.Module, deterministic: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.deterministic = deterministic
        self.is_recording = True
        self.operators: Counter[str] = Counter()
        self.findings: dict[Finding, None] = {}
        self.nondeterministic: set[str] = set()
        # Where an exception comes from: the operator and the modules at work.
        self.running = ""
        self.modules: list[str] = []
        # In the backward pass, the place of a step is the module whose forward pass made it.
        self.ends: list[tuple[int, str]] = []
        self.live: dict[int, tuple[Any, int, str]] = {}
        self.bytes = dict.fromkeys(MEMORY_CATEGORIES, 0)
        self.peak = dict(self.bytes)
        for name, module in model.named_modules():
            module.register_forward_pre_hook(functools.partial(self._pre_forward, name))
            module.register_forward_hook(self._post_forward)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, or stand in for it where it would bring a number from the device to the CPU."""
        kwargs = kwargs or {}
        name = func.name()
        inputs = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        on_device = [each for each in inputs if each.is_meta]
        if on_device and (answer := _fake_host_result(name, args, kwargs)) is not None:
            return answer
        if on_device and len(on_device) < len(inputs):
            self._check_device_mixing(name, inputs)
        self.running = name
        results = func(*args, **kwargs)
        self.running = ""
        outputs = [each for each in tree_leaves(results) if isinstance(each, Tensor) and each.is_meta]
        for output in outputs:
            self.track(output, "activations")
        if self.is_recording and (on_device or outputs):
            self.operators[name] += 1
            for finding in check_operator(name, args, outputs):
                self.add_finding(finding)
            if is_nondeterministic(name, args):
                self._add_nondeterministic(name)
        return results

    def add_finding(self, finding: Finding) -> None:
        """Keep a finding, with its place."""
        self.findings[dataclasses.replace(finding, where=finding.where or self.get_location())] = None

    def get_location(self) -> str:
        """Return the innermost module at work, and the line outside of libraries, as far as there are."""
        line = _find_user_code_line()
        if self.modules:
            module = self.modules[-1]
        else:
            node = torch._C._current_autograd_node()
            index = bisect.bisect_left(self.ends, (node._sequence_nr(), "")) if node else len(self.ends)
            module = f"the backward pass of {self.ends[index][1]}" if index < len(self.ends) else ""
        return " at ".join(each for each in (module, line) if each)

    def track(self, tensor: Tensor, part: str) -> None:
        """Count a tensor's memory as a part, once for all tensors that share it."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.live:
            reference, size, before = self.live[key]
            if part == "activations" or part == before:
                return
            self.bytes[before] -= size
        else:
            reference, size = weakref.ref(storage, lambda _: self._free(key)), storage.nbytes()
        self.live[key] = (reference, size, part)
        self.bytes[part] += size
        if sum(self.bytes.values()) > sum(self.peak.values()):
            self.peak = dict(self.bytes)

    def reset_peak(self) -> None:
        """Measure the peak from here on."""
        self.peak = dict(self.bytes)

    def _free(self, key: int) -> None:
        _, size, part = self.live.pop(key)
        self.bytes[part] -= size

    def _check_device_mixing(self, name: str, inputs: list[Tensor]) -> None:
        base = name.partition("::")[2].partition(".")[0]
        # A number on the CPU may meet any tensor.
        if base not in DEVICE_MIXING_OPS and any(not each.is_meta and each.dim() for each in inputs):
            text = f"a tensor stayed on the CPU and meets one on the device in {base}: register it as a buffer"
            self.add_finding(Finding("fault", text))

    def _add_nondeterministic(self, name: str) -> None:
        self.nondeterministic.add(name.removeprefix("aten::").partition(".")[0])
        if self.deterministic:
            text = f"{name} varies on MPS and trainer.deterministic=true refuses it: set trainer.deterministic=warn"
            self.add_finding(Finding("fault", text))

    def _pre_forward(self, name: str, module: nn.Module, args: Any) -> None:
        self.modules.append(name)

    def _post_forward(self, module: nn.Module, args: Any, output: Any) -> None:
        name = self.modules.pop()
        for each in tree_leaves(output):
            if isinstance(each, Tensor) and each.grad_fn is not None:
                number = each.grad_fn._sequence_nr()
                if not self.ends or self.ends[-1][0] < number:
                    self.ends.append((number, name))
                return


def _fake_host_result(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return zeros for what leaves the device; None if nothing does."""
    first: Any = args[0] if args else None
    if name == "aten::_local_scalar_dense":
        return torch.zeros((), dtype=first.dtype).item()
    if name == "aten::_to_copy" and torch.device(kwargs.get("device") or "meta").type == "cpu":
        return torch.zeros(first.shape, dtype=kwargs.get("dtype") or first.dtype)
    if name == "aten::copy_" and not first.is_meta:
        return first.zero_()
    return None


def _find_user_code_line() -> str:
    """Return the innermost line of code that is no library's and not ours."""
    frame = sys._getframe()
    while (file := Path(frame.f_code.co_filename)).name != "dry_run.py" or file.parent != MPS_PACKAGE_DIR:
        ours = file.parent == MPS_PACKAGE_DIR or file.name.startswith("<")
        if not ours and not file.is_relative_to(sys.base_prefix) and "site-packages" not in file.parts:
            near = file.is_relative_to(Path.cwd())
            return f"{file.relative_to(Path.cwd()) if near else file.name}:{frame.f_lineno}"
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return ""
