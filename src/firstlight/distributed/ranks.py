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

from firstlight.distributed.environment import detect_cluster_environment
from firstlight.run.rank import is_worker_rank

# How long the others wait for the first one, which may have data to fetch.
STORE_TIMEOUT = timedelta(hours=1)


def run_worker_rank(task: Callable[[DictConfig], Any]) -> None:
    """Train along with the first process, in silence; an error ends this one, and by that the run.

    What a user can mend is told by the first one, which hears of it.
    """
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), suppress(ValueError, KeyboardInterrupt):
        task(OmegaConf.create(connect_store(detect_cluster_environment()).get(_make_store_prefix()).decode()))
        return
    sys.exit(1)


@contextmanager
def join_distributed_run(trainer: Any, cfg: DictConfig, record: Any) -> Iterator[None]:
    """Train with the other processes, if there are any, and end with them.

    Raises:
        SystemExit: another process has ended before its time.
    """
    if trainer.world_size == 1:
        yield
        return
    from firstlight.distributed.watchdog import RankWatchdog

    place = trainer.strategy.cluster_environment
    first = not is_worker_rank()
    store = connect_store(place, serve=first)
    if first:
        # Only rank 0 composes: timestamps, resume=last and the W&B run cannot differ between the ranks.
        store.set(_make_store_prefix(), OmegaConf.to_yaml(cfg, resolve=True))
    watch = RankWatchdog(trainer, connect_store(place), f"{_make_store_prefix()}/alive", record)
    watch.start()
    try:
        yield
    except BaseException as error:
        watch.stop(error)
        raise
    watch.stop()


def connect_store(place: Any, serve: bool = False) -> Any:
    """Return a connection to the store that all processes share; the first one serves it unless torchrun does."""
    import torch.distributed as dist

    serve = serve and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return dist.TCPStore(  # type: ignore[attr-defined]
        place.main_address,
        place.main_port,
        is_master=serve,
        timeout=STORE_TIMEOUT,
        wait_for_workers=False,
        # torch.distributed makes its own one in this process at the same port.
        multi_tenant=True,
    )


def _make_store_prefix() -> str:
    return f"firstlight/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
