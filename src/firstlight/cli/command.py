"""Turn functions into commands: Hydra composes the config, errors are one line, the exit code reports success."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import hydra
from omegaconf import DictConfig

from firstlight.cli.console import suppress_library_noise
from firstlight.cli.errors import print_error
from firstlight.cli.hydra_files import register_sweeper
from firstlight.cli.job import run_job
from firstlight.config.compose import resolve_and_store_root_config
from firstlight.config.options import CONFIG_DIR
from firstlight.distributed.ranks import run_worker_rank
from firstlight.hardware.mps_watermarks import set_watermarks
from firstlight.run.rank import is_nonzero_rank
from firstlight.run.secret_overrides import move_secrets_to_environment
from firstlight.run.signals import install_signal_handler


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[..., Any]]:
    """Return a decorator that turns a function of a config into a command.

    Called with a config, the function runs unchanged. Called without arguments, it reads the command line.

    Args:
        name: Name of the command and of its root config.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[..., Any]:
        @functools.wraps(task)
        def main(cfg: DictConfig | None = None) -> Any:
            return task(cfg) if cfg is not None else run_cli(name, task)

        return main

    return decorate


def run_cli(name: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose the config, run the task (once, or for each job of a sweep), and exit with a code."""
    suppress_library_noise()
    received: list[int] = []
    install_signal_handler((signal.SIGTERM, signal.SIGHUP), functools.partial(handle_stop_signal, received))
    # Makes Hydra raise its errors instead of printing them, so that they can be formatted here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    failures: list[str] = []
    if is_nonzero_rank():
        if name == "train":
            run_worker_rank(task)
        return
    try:
        set_watermarks(os.environ)  # before torch is imported
        sys.argv[1:] = move_secrets_to_environment(sys.argv[1:])
        register_sweeper()
        root, sys.argv[1:] = resolve_and_store_root_config(name, sys.argv[1:])
        job = functools.partial(run_job, task, failures)
        hydra.main(config_path=str(CONFIG_DIR), config_name=root, version_base="1.3")(job)()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as stop:
        # Lightning may replace the exit code of the signal with 0.
        sys.exit(128 + received[0] if received else stop.code)
    except Exception as error:
        print_error(error, name)
        sys.exit(1)
    if failures:
        sys.exit(1)


def handle_stop_signal(received: list[int], number: int, frame: FrameType | None) -> None:
    """Raise SystemExit on a signal, so that every `finally` block runs, as with Ctrl-C."""
    received.append(number)
    raise SystemExit(128 + number)
