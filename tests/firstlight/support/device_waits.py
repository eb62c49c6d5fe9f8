"""Count the operations of an evaluation that would wait for the device in every batch, without having a device."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.prediction_loop import _PredictionLoop
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operators whose result, or its shape, is read on the host.
WAITING_OPERATORS = {"_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal"}
WAITING_OPERATORS |= {"_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"}
# Methods that read values on the host. On the CPU, they call no operator.
WAITING_METHODS = {"cpu", "tolist", "numpy", "item", "__bool__", "__int__", "__float__", "__index__", "__array__"}
INDEXING_OPERATORS = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class DeviceWaits:
    """The operations that would wait, by name. A part that only touches the host's memory is left out with `pause`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.num_batches = 0
        self.is_paused = False

    def add(self, name: str) -> None:
        if not self.is_paused:
            self.counts[name] += 1

    @contextmanager
    def pause(self) -> Iterator[None]:
        before, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = before


class OperatorMode(TorchDispatchMode):
    """Count operators that wait, also inside the operators of torch."""

    def __init__(self, waits: DeviceWaits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = [index for index in (args[1] if name in INDEXING_OPERATORS else ()) if index is not None]
        is_mask = any(index.dtype in (torch.bool, torch.uint8) for index in masks)
        if name in WAITING_OPERATORS or is_mask or (name == "repeat_interleave" and len(args) == 1):
            self.waits.add(name)
        with self:  # under inference mode, composite operators arrive as one
            result = func.decompose(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


class MethodMode(TorchFunctionMode):
    """Count methods of tensors that wait."""

    def __init__(self, waits: DeviceWaits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in WAITING_METHODS:
            self.waits.add(func.__name__)
        return func(*args, **(kwargs or {}))


def count_waits(monkeypatch: pytest.MonkeyPatch) -> DeviceWaits:
    """Count from now on in each batch of validation, test and predict: its transfer, its step and all its hooks."""
    waits = DeviceWaits()

    def wrap(step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            waits.num_batches += 1
            with OperatorMode(waits), MethodMode(waits):
                return step(*args, **kwargs)

        return counted

    monkeypatch.setattr(_EvaluationLoop, "_evaluation_step", wrap(_EvaluationLoop._evaluation_step))
    monkeypatch.setattr(_PredictionLoop, "_predict_step", wrap(_PredictionLoop._predict_step))
    return waits


def forbid_cuda_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise an error from now on if a batch of validation, test or predict waits for a CUDA device.

    The first batch of each loop may wait: it creates states, caches and kernels.
    """

    def wrap(step: Callable[..., Any]) -> Callable[..., Any]:
        def forbidden(loop: Any, batch: Any, batch_idx: int, *args: Any, **kwargs: Any) -> Any:
            torch.cuda.set_sync_debug_mode("error" if batch_idx else "default")
            try:
                return step(loop, batch, batch_idx, *args, **kwargs)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return forbidden

    monkeypatch.setattr(_EvaluationLoop, "_evaluation_step", wrap(_EvaluationLoop._evaluation_step))
    monkeypatch.setattr(_PredictionLoop, "_predict_step", wrap(_PredictionLoop._predict_step))
