"""Coordinate the processes of a distributed run.

Lightning, torchrun or Slurm starts the processes. Rank 0 composes the config and owns the run directory. The other
ranks receive the config through the store of torch.distributed, and only train.
"""

import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from firstlight.distributed.environment import detect_cluster_environment
from firstlight.run.errors import ConfigError, TrainingError
from firstlight.run.rank import CHILD_VARIABLE, LAUNCHER_VARIABLES, get_launcher, is_nonzero_rank

# How long the other ranks wait for rank 0, which may have to download data.
STORE_TIMEOUT = timedelta(hours=1)
# How long a process tries to connect after rank 0 has started to serve the store.
CONNECT_TIMEOUT = timedelta(seconds=30)
# Key of the run directory in torchrun's store.
RUN_DIR_KEY = "firstlight/run_dir"
# How long they wait without a message, and how often they look.
REPORT_WAIT_AFTER_S, POLL_INTERVAL_S = 25.0, 0.2


def run_worker_rank(task: Callable[[DictConfig], Any]) -> None:
    """Run the task on a worker rank without output.

    Any error exits this process, and thereby the run. Rank 0 reports user errors, which the watchdog sends to it.

    Args:
        task: The command.
    """
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull), suppress(ValueError, KeyboardInterrupt):
        cfg: Any = OmegaConf.create(receive_config(detect_cluster_environment()))
        task(cfg)
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


def receive_config(environment: Any) -> str:
    """Wait for the config of rank 0, and return it as YAML.

    Waits in short steps, because torch's own functions do not respond to signals, and wait without a message.

    Args:
        environment: Lightning's cluster environment.

    Raises:
        TrainingError: If rank 0 does not send the config in time, or has exited.
    """
    address = (environment.main_address, environment.main_port)
    started, store, is_reported = time.monotonic(), None, False
    while (waited_s := time.monotonic() - started) < STORE_TIMEOUT.total_seconds():
        # torch would print a warning for each attempt to connect.
        if store is None and is_reachable(address):
            store = connect_store(environment)
        if store is not None and store.check([_make_store_prefix()]):
            return str(store.get(_make_store_prefix()).decode())
        if get_launcher() == "Lightning" and os.getppid() != int(os.environ[CHILD_VARIABLE]):
            raise TrainingError("Rank 0 has exited before it sent the config.")
        if waited_s > REPORT_WAIT_AFTER_S and not is_reported:
            is_reported = True
            print(format_wait(*address), file=sys.stderr, flush=True)
        time.sleep(POLL_INTERVAL_S)
    raise TrainingError("Rank 0 did not send the config.")


def is_reachable(address: tuple[str, int]) -> bool:
    """Return True if a process accepts connections at an address (host name and port)."""
    with suppress(OSError), socket.create_connection(address, timeout=2):
        return True
    return False


def format_wait(host: str, port: int) -> str:
    """Return the line about a process that waits for rank 0."""
    names = LAUNCHER_VARIABLES[get_launcher()]
    rank = ", ".join(f"{name}={os.environ[name]}" for name in names if name.endswith(("RANK", "PROCID")))
    return (
        f"Waiting for rank 0 at {host}:{port} for {REPORT_WAIT_AFTER_S:.0f} s. If this process is not part of a "
        f"distributed run, stop it and unset {', '.join(names)} (now {rank})."
    )


def publish_run_dir(run_dir: Path) -> None:
    """Store the run directory on rank 0 where the next attempt finds it, if torchrun restarts the processes."""
    if has_agent_store() and not is_nonzero_rank():
        connect_store(detect_cluster_environment()).set(RUN_DIR_KEY, str(run_dir.resolve()))


def receive_run_dir() -> Path | None:
    """Return the run directory of the previous attempt; None if it had none, or torchrun keeps no store."""
    store = connect_store(detect_cluster_environment()) if has_agent_store() else None
    if store is None or not store.check([RUN_DIR_KEY]):
        return None
    return Path(os.path.relpath(store.get(RUN_DIR_KEY).decode()))


def has_agent_store() -> bool:
    """Return True if torchrun serves a store, which exists as long as all attempts."""
    return get_launcher() == "torchrun" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def connect_store(environment: Any, is_server: bool = False) -> Any:
    """Return a connection to the store that all ranks share.

    Args:
        environment: Lightning's cluster environment.
        is_server: Whether this process serves the store, unless torchrun already does.

    Raises:
        ConfigError: If the store cannot be served because its port is in use.
    """
    import torch.distributed as dist

    is_server = is_server and not has_agent_store()
    try:
        return dist.TCPStore(  # type: ignore[attr-defined]
            environment.main_address,
            environment.main_port,
            is_master=is_server,
            timeout=CONNECT_TIMEOUT,
            wait_for_workers=False,
            # torch.distributed creates its own store in this process, on the same port.
            multi_tenant=True,
        )
    except RuntimeError as error:
        if not is_server or "EADDRINUSE" not in str(error):
            raise
        raise ConfigError(
            f"MASTER_PORT={environment.main_port} is in use by another process of this machine. Set MASTER_PORT to a "
            "free port."
        ) from error


def _make_store_prefix() -> str:
    """Return the key of the config, which changes when torchrun restarts the processes."""
    return f"firstlight/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
