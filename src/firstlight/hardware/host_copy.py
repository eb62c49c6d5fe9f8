"""Copy results of the device to the CPU while the device continues with the next batches."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

# Results that may still be on their way. With two, the device always has a batch to run.
MAX_PENDING = 2


class HostCopy:
    """A copy of the tensors of any nested value in CPU memory. On CUDA, it is made without waiting for the device.

    On MPS, the copy waits for the device. On the CPU, nothing is copied.

    Args:
        value: The value; other objects in it stay as they are.
    """

    def __init__(self, value: Any) -> None:
        self.event: torch.cuda.Event | None = None
        self.value = move_data_to_device(apply_to_collection(value, Tensor, self._start_copy), torch.device("cpu"))
        if self.event is not None:
            self.event.record()

    def _start_copy(self, tensor: Tensor) -> Tensor:
        if not tensor.is_cuda:
            return tensor
        self.event = self.event or torch.cuda.Event()  # type: ignore[no-untyped-call]
        return tensor.detach().to("cpu", non_blocking=True)  # into pinned memory

    def is_ready(self) -> bool:
        """Return True if the copy is complete."""
        return self.event is None or bool(self.event.query())  # type: ignore[no-untyped-call]

    def read(self) -> Any:
        """Return the value, and wait for the copy if necessary."""
        if self.event is None:
            return self.value
        self.event.synchronize()
        # Pinned memory is scarce: a result that is kept moves to other memory.
        return apply_to_collection(self.value, Tensor, torch.clone)


class HostCopyQueue:
    """The results of the latest batches, in their order."""

    def __init__(self) -> None:
        self.pending: deque[HostCopy] = deque()

    def put(self, value: Any) -> None:
        """Start to copy the result of a batch."""
        self.pending.append(HostCopy(value))

    def iter_ready(self) -> Iterator[Any]:
        """Yield the results that have arrived. Wait only for results that are older than `MAX_PENDING` batches."""
        while self.pending and (len(self.pending) > MAX_PENDING or self.pending[0].is_ready()):
            yield self.pending.popleft().read()

    def iter_all(self) -> Iterator[Any]:
        """Yield all remaining results, after the last batch."""
        while self.pending:
            yield self.pending.popleft().read()
