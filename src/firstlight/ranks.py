"""The processes of a training on several devices: the first one decides, the others follow it.

Who starts them is Lightning, torchrun or Slurm. The first one composes the configuration and owns the run's folder; the
others get the configuration from it by the store of torch.distributed, and only train.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

# A rank's number, as torchrun, Lightning and Slurm tell it; all of the first process's are 0.
NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
# How long the others wait for the first one, which may have data to fetch.
PATIENCE = timedelta(hours=1)


def follows() -> bool:
    """Say whether this process is one of the others."""
    return any(int(os.environ.get(name) or 0) for name in NUMBERS)


def follow(task: Callable[[DictConfig], Any]) -> None:
    """Train along with the first process, in silence; an error ends this one, and by that the run.

    What a user can mend is told by the first one, which hears of it.
    """
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), suppress(ValueError, KeyboardInterrupt):
        task(OmegaConf.create(store_of(environment()).get(_key()).decode()))
        return
    sys.exit(1)


@contextmanager
def together(trainer: Any, cfg: DictConfig, record: Any) -> Iterator[None]:
    """Train with the other processes, if there are any, and end with them.

    Raises:
        SystemExit: another process has ended before its time.
    """
    if trainer.world_size == 1:
        yield
        return
    from firstlight.watch import Watch

    place = trainer.strategy.cluster_environment
    first = not follows()
    store = store_of(place, serve=first)
    if first:
        store.set(_key(), OmegaConf.to_yaml(cfg, resolve=True))
    watch = Watch(trainer, store_of(place), f"{_key()}/alive", record)
    watch.start()
    try:
        yield
    except BaseException as error:
        watch.end(error)
        raise
    watch.end()


def environment() -> Any:
    """Return Lightning's view of who has started the processes."""
    from lightning.fabric.plugins import environments

    kinds = (environments.TorchElasticEnvironment, environments.SLURMEnvironment)  # type: ignore[attr-defined]
    return next((kind() for kind in kinds if kind.detect()), environments.LightningEnvironment())  # type: ignore[attr-defined]


def store_of(place: Any, serve: bool = False) -> Any:
    """Return a connection to the store that all processes share; the first one serves it unless torchrun does."""
    import torch.distributed as dist

    serve = serve and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return dist.TCPStore(  # type: ignore[attr-defined]
        place.main_address,
        place.main_port,
        is_master=serve,
        timeout=PATIENCE,
        wait_for_workers=False,
        # torch.distributed makes its own one in this process at the same port.
        multi_tenant=True,
    )


def gathered(value: Any) -> list[Any]:
    """Return the values that all processes give, in the order of their ranks; each must call this."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


class Agreement:
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


def _key() -> str:
    return f"firstlight/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
