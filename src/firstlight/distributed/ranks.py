"""Coordinate the processes of a distributed run.

Lightning, torchrun or Slurm starts the processes. Rank 0 composes the config and owns the run directory. The other
ranks receive the config through the store of torch.distributed, and only train.
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
from firstlight.run.rank import is_nonzero_rank

# How long the other ranks wait for rank 0, which may have to download data.
STORE_TIMEOUT = timedelta(hours=1)


def run_worker_rank(task: Callable[[DictConfig], Any]) -> None:
    """Run the task on a worker rank without output.

    Any error exits this process, and thereby the run. Rank 0 reports user errors, which the watchdog sends to it.

    Args:
        task: The command.
    """
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull), suppress(ValueError, KeyboardInterrupt):
        task(OmegaConf.create(connect_store(detect_cluster_environment()).get(_make_store_prefix()).decode()))
        return
    sys.exit(1)


@contextmanager
def join_and_watch_ranks(trainer: Any, cfg: DictConfig, record: Any) -> Iterator[None]:
    """Context manager that sends the config to the other ranks and watches them; with one process, it does nothing.

    Args:
        trainer: The trainer.
        cfg: Config of the run.
        record: Record of the run, which receives the reason of a failure.

    Raises:
        PeerFailureError: If another rank has failed first.
        BaseException: If the run raises.
    """
    if trainer.world_size == 1:
        yield
        return
    from firstlight.distributed.watchdog import RankWatchdog

    environment = trainer.strategy.cluster_environment
    is_rank_zero = not is_nonzero_rank()
    store = connect_store(environment, is_server=is_rank_zero)
    if is_rank_zero:
        # Only rank 0 composes: timestamps, resume=last and the W&B run cannot differ between the ranks.
        store.set(_make_store_prefix(), OmegaConf.to_yaml(cfg, resolve=True))
    watchdog = RankWatchdog(trainer, connect_store(environment), f"{_make_store_prefix()}/alive", record)
    watchdog.start()
    try:
        yield
    except BaseException as error:
        watchdog.stop(error)
        raise
    watchdog.stop()


def connect_store(environment: Any, is_server: bool = False) -> Any:
    """Return a connection to the store that all ranks share.

    Args:
        environment: Lightning's cluster environment.
        is_server: Whether this process serves the store, unless torchrun already does.
    """
    import torch.distributed as dist

    is_server = is_server and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return dist.TCPStore(  # type: ignore[attr-defined]
        environment.main_address,
        environment.main_port,
        is_master=is_server,
        timeout=STORE_TIMEOUT,
        wait_for_workers=False,
        # torch.distributed creates its own store in this process, on the same port.
        multi_tenant=True,
    )


def _make_store_prefix() -> str:
    """Return the key of the config, which changes when torchrun restarts the processes."""
    return f"firstlight/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
