"""Collective operations between the processes of a distributed run."""

from typing import Any


def all_gather_objects(value: Any) -> list[Any]:
    """Return the values of all ranks, in the order of the ranks; every rank must call this function."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


# Lightning 2.6 broadcasts a stop signal on the devices within each step, so every step waits for the GPU.
class DelayedMaxReduce:
    """Asynchronous max-reduce of a request across ranks.

    The result of one call is returned by the next call, so that no rank blocks and all ranks receive it at the same
    step.
    """

    def __init__(self) -> None:
        """Create a process group if there are several ranks."""
        import torch.distributed as dist

        is_distributed = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        # Gloo communicates between CPUs, so that no GPU has to be synchronized.
        self.group: Any = dist.new_group(backend="gloo") if is_distributed else None
        self.work: Any = None
        self.result: Any = None

    def __call__(self, number: int) -> int:
        """Submit a request, 0 for none, and return the greatest request of the previous call.

        On a single process, the request is returned immediately.
        """
        if self.group is None:
            return number
        import torch
        import torch.distributed as dist

        previous = 0
        if self.work is not None:
            self.work.wait()
            previous = int(self.result)
        self.result = torch.tensor(number)
        self.work = dist.all_reduce(self.result, dist.ReduceOp.MAX, self.group, async_op=True)
        return previous
