"""What all processes of a training know together."""

from typing import Any


def all_gather_objects(value: Any) -> list[Any]:
    """Return the values that all processes give, in the order of their ranks; each must call this."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


# Lightning 2.6 exchanges a stop signal over the devices within each step, for which every step waits for the GPU.
class DelayedMaxReduce:
    """What any process asks for, known to all of them at the same step: one step later, so that nobody waits."""

    def __init__(self) -> None:
        """Ask for nothing yet."""
        import torch.distributed as dist

        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        # Between the CPUs: a GPU would have to be waited for.
        self.group: Any = dist.new_group(backend="gloo") if several else None
        self.work: Any = None
        self.asked: Any = None

    def __call__(self, number: int) -> int:
        """Ask for something, 0 for nothing; return the greatest that was asked for, in the call before."""
        if self.group is None:
            return number
        import torch
        import torch.distributed as dist

        agreed = 0
        if self.work is not None:
            self.work.wait()
            agreed = int(self.asked)
        self.asked = torch.tensor(number)
        self.work = dist.all_reduce(self.asked, dist.ReduceOp.MAX, self.group, async_op=True)
        return agreed
