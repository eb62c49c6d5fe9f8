"""Count the operators that an evaluation calls in addition to the network: each of them starts a kernel on a GPU."""

from collections import Counter
from typing import Any

import pytest
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from torch.utils._python_dispatch import TorchDispatchMode

from firstlight.model.task import Task

# Operators that only allocate memory.
ALLOCATIONS = ("empty", "new_empty")


class BatchOperators(TorchDispatchMode):
    """The operators of all batches by name, without views and those of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.num_batches = 0
        self.is_paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # under inference mode, composite operators arrive as one
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        name = func.overloadpacket.__name__
        if not self.is_paused and not func.is_view and not name.startswith(ALLOCATIONS):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))

    def pause(self, *args: Any) -> None:
        """Count nothing: the hook before the forward pass of the network."""
        self.is_paused = True

    def resume(self, *args: Any) -> None:
        """Count again: the hook after the forward pass."""
        self.is_paused = False

    def count_per_batch(self) -> float:
        """Return the mean number of operators of a batch."""
        return sum(self.counts.values()) / self.num_batches


def count_operators(monkeypatch: pytest.MonkeyPatch, model: Task) -> BatchOperators:
    """Count from now on in each batch of validation and test: its transfer, its step and all its hooks."""
    operators, evaluate = BatchOperators(), _EvaluationLoop._evaluation_step
    model.network.register_forward_pre_hook(operators.pause)
    model.network.register_forward_hook(operators.resume)

    def counted(*args: Any, **kwargs: Any) -> Any:
        operators.num_batches += 1
        with operators:
            return evaluate(*args, **kwargs)

    monkeypatch.setattr(_EvaluationLoop, "_evaluation_step", counted)
    return operators
