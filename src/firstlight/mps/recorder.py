"""Record the operators that run on the meta device, check them against the rules of MPS, and track live memory."""

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

# Activations include the gradients of activations and other temporaries.
MEMORY_CATEGORIES = ("weights", "gradients", "optimizer state", "activations", "inputs")
# Operators that accept tensors on different devices.
DEVICE_MIXING_OPS = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_", "set_"}
MPS_PACKAGE_DIR = Path(__file__).parent


class OperatorRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record operators, findings and memory; operations that return values to the host get zeros.

    Args:
        model: Model whose modules name the locations of findings.
        deterministic: Whether nondeterministic operators are errors.
    """

    def __init__(self, model: nn.Module, deterministic: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.deterministic = deterministic
        self.is_recording = True
        self.operators: Counter[str] = Counter()
        self.findings: dict[Finding, None] = {}
        self.nondeterministic: set[str] = set()
        # The running operator and the modules that call it, for the location of an exception.
        self.running = ""
        self.modules: list[str] = []
        # Last sequence number of each module's forward pass. In the backward pass, it maps an autograd node to the
        # module that created the node.
        self.last_nodes: list[tuple[int, str]] = []
        # Key of a storage -> weak reference, bytes, memory category.
        self.live: dict[int, tuple[Any, int, str]] = {}
        self.bytes = dict.fromkeys(MEMORY_CATEGORIES, 0)
        self.peak = dict(self.bytes)
        for name, module in model.named_modules():
            module.register_forward_pre_hook(functools.partial(self._enter_module, name))
            module.register_forward_hook(self._leave_module)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and record it; an operator that copies a value to the host returns zeros instead."""
        kwargs = kwargs or {}
        name = func.name()
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = [tensor for tensor in inputs if tensor.is_meta]
        if on_device and (result := _fake_host_result(name, args, kwargs)) is not None:
            return result
        if on_device and len(on_device) < len(inputs):
            self._check_device_mixing(name, inputs)
        self.running = name
        results = func(*args, **kwargs)
        self.running = ""
        outputs = [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor) and leaf.is_meta]
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
        """Add a finding, at the current location unless it has one."""
        self.findings[dataclasses.replace(finding, location=finding.location or self.get_location())] = None

    def get_location(self) -> str:
        """Return the innermost running module and the innermost line of user code, as far as they are known."""
        line = _find_user_code_line()
        if self.modules:
            module = self.modules[-1]
        else:
            node = torch._C._current_autograd_node()
            nodes = self.last_nodes
            index = bisect.bisect_left(nodes, (node._sequence_nr(), "")) if node else len(nodes)
            module = f"the backward pass of {nodes[index][1]}" if index < len(nodes) else ""
        return " at ".join(filter(None, (module, line)))

    def track(self, tensor: Tensor, category: str) -> None:
        """Count the memory of a tensor in a category, once for all tensors that share it.

        A tensor that was counted before moves to the new category, unless that is "activations".
        """
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.live:
            reference, size, previous = self.live[key]
            if category in ("activations", previous):
                return
            self.bytes[previous] -= size
        else:
            reference, size = weakref.ref(storage, lambda _: self._free(key)), storage.nbytes()
        self.live[key] = (reference, size, category)
        self.bytes[category] += size
        if sum(self.bytes.values()) > sum(self.peak.values()):
            self.peak = dict(self.bytes)

    def reset_peak(self) -> None:
        """Set the peak to the memory in use now."""
        self.peak = dict(self.bytes)

    def _free(self, key: int) -> None:
        _, size, category = self.live.pop(key)
        self.bytes[category] -= size

    def _check_device_mixing(self, name: str, inputs: list[Tensor]) -> None:
        base = name.partition("::")[2].partition(".")[0]
        # A tensor without dimensions on the CPU can be combined with tensors on any device.
        if base not in DEVICE_MIXING_OPS and any(not tensor.is_meta and tensor.dim() for tensor in inputs):
            problem = f"{base} mixes a CPU tensor with a device tensor"
            self.add_finding(Finding("error", problem, "Register the CPU tensor as a buffer."))

    def _add_nondeterministic(self, name: str) -> None:
        self.nondeterministic.add(name.removeprefix("aten::").partition(".")[0])
        if self.deterministic:
            problem = f"{name} is nondeterministic on MPS, but trainer.deterministic=true forbids it"
            self.add_finding(Finding("error", problem, "Set trainer.deterministic=warn."))

    def _enter_module(self, name: str, module: nn.Module, args: Any) -> None:
        self.modules.append(name)

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        name = self.modules.pop()
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                number = leaf.grad_fn._sequence_nr()
                if not self.last_nodes or self.last_nodes[-1][0] < number:
                    self.last_nodes.append((number, name))
                return


def _fake_host_result(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return zeros for an operator that copies from the device to the host, or None for any other operator."""
    first: Any = args[0] if args else None
    if name == "aten::_local_scalar_dense":
        return torch.zeros((), dtype=first.dtype).item()
    if name == "aten::_to_copy" and torch.device(kwargs.get("device") or "meta").type == "cpu":
        return torch.zeros(first.shape, dtype=kwargs.get("dtype") or first.dtype)
    if name == "aten::copy_" and not first.is_meta:
        return first.zero_()
    return None


def _find_user_code_line() -> str:
    """Return the innermost line of code outside of libraries and of this package, or "" if there is none."""
    frame = sys._getframe()
    while (file := Path(frame.f_code.co_filename)).name != "dry_run.py" or file.parent != MPS_PACKAGE_DIR:
        is_own = file.parent == MPS_PACKAGE_DIR or file.name.startswith("<")
        if not is_own and not file.is_relative_to(sys.base_prefix) and "site-packages" not in file.parts:
            path = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file.name
            return f"{path}:{frame.f_lineno}"
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return ""
