"""Turn functions into commands: Hydra composes the config, errors are one line, the exit code reports success."""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig

from firstlight.cli.console import suppress_library_noise
from firstlight.cli.errors import print_error
from firstlight.cli.hydra_files import register_sweeper
from firstlight.cli.job import run_job
from firstlight.cli.restart import apply_restart
from firstlight.config.compose import resolve_and_store_root_config
from firstlight.config.hydra_version import VERSION_BASE
from firstlight.config.options import CONFIG_DIR
from firstlight.config.overrides import validate_hydra_overrides
from firstlight.distributed.ranks import run_worker_rank
from firstlight.hardware.mps_watermarks import set_watermarks
from firstlight.run.checkout import validate_checkout
from firstlight.run.environment import prepare_process
from firstlight.run.errors import ConfigError, Message
from firstlight.run.failure import describe_stop
from firstlight.run.json_output import pop_json_argument, print_as_json, redirect_output
from firstlight.run.parent import stop_with_sweep_of_environment
from firstlight.run.rank import get_launcher, is_nonzero_rank
from firstlight.run.record import end_open_runs
from firstlight.run.secret_overrides import move_secrets_to_environment
from firstlight.run.signals import exit_on_stop_signals, get_received_signal

# Flags of Hydra that print something instead of running the command.
INFO_FLAGS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
# Method of argparse that validates a help text; Python 3.14 or newer.
CHECK_HELP = "_check_help"


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
    # Makes Hydra raise its errors instead of printing them, so that they can be formatted here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    stop_with_sweep_of_environment()
    sys.argv[1:], is_json = pop_json_argument(sys.argv[1:])
    is_rank_zero = not is_nonzero_rank()
    if is_json and not is_rank_zero:
        redirect_output()  # Rank 0 prints the object, maybe to the same stdout.
    with print_as_json(name, is_json and is_rank_zero), exit_on_stop_signals(name):
        try:
            compose_and_run(name, task)
        except (KeyboardInterrupt, SystemExit) as stop:
            end_open_runs(describe_stop(stop))
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and INFO_FLAGS & {*sys.argv[1:]}:
                # `make train ARGS=--help | head` has all it wants. Python would report the closed pipe at its end, too.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                sys.exit(1)
            sys.exit(1 if get_received_signal() else print_error(error, name))


def compose_and_run(name: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose the config from the command line, and run the task.

    Raises:
        SystemExit: If a job of a sweep has failed.
    """
    prepare_process()
    suppress_library_noise()
    # Notebooks set a backend for their output, which another environment may not have. Plots are written to files.
    os.environ["MPLBACKEND"] = "agg"
    validate_checkout(Path.cwd())
    if is_nonzero_rank():
        run_nonzero_rank(name, task)
        return
    failures: list[int] = []
    set_watermarks(os.environ)  # before torch is imported
    overrides = move_secrets_to_environment(sys.argv[1:])
    validate_hydra_overrides(overrides)
    overrides = apply_restart(overrides) if name == "train" else overrides
    register_sweeper()
    root, sys.argv[1:] = resolve_and_store_root_config(name, overrides)
    job = functools.partial(run_job, task, failures)
    with adapt_argparse():
        hydra.main(config_path=str(CONFIG_DIR), config_name=root, **VERSION_BASE)(job)()
    if failures:
        sys.exit(max(failures))


@contextmanager
def adapt_argparse() -> Iterator[None]:
    """Let Hydra's parser accept its own help texts, and raise an error for an unknown flag instead of exiting."""

    def raise_error(parser: argparse.ArgumentParser, message: str) -> NoReturn:
        fix = "Pass overrides as key=value, and list the flags with --hydra-help."
        raise ConfigError(Message(f"Invalid command line: {message}. {fix}", fix=fix))

    parser: Any = argparse.ArgumentParser
    exit_with_usage, parser.error = parser.error, raise_error
    try:
        with accept_lazy_help():
            yield
    finally:
        parser.error = exit_with_usage


@contextmanager
def accept_lazy_help() -> Iterator[None]:
    """Let argparse accept help texts that are not strings, as `hydra.main` passes one for --shell-completion.

    From Python 3.14 on, argparse formats each help text when an argument is added, and rejects Hydra's object. Hydra
    prints its help itself, so that argparse never formats this object.
    """
    # Remove this function once pyproject.toml requires Hydra 1.4, which does the same (hydra#3090).
    owner: Any = next((base for base in argparse.ArgumentParser.__mro__ if CHECK_HELP in vars(base)), None)
    if owner is None:  # Python 3.13 or older
        yield
        return
    check = getattr(owner, CHECK_HELP)

    def check_strings(parser: Any, action: argparse.Action) -> None:
        if isinstance(action.help, str):
            check(parser, action)

    setattr(owner, CHECK_HELP, check_strings)
    try:
        yield
    finally:
        setattr(owner, CHECK_HELP, check)


def run_nonzero_rank(name: str, task: Callable[[DictConfig], Any]) -> None:
    """Join the training run of rank 0; other commands run on rank 0 only, and say so."""
    if name == "train":
        run_worker_rank(task)
    else:
        message = f"{name}: runs on rank 0 only, and {get_launcher()} started this process as another rank."
        print(message, file=sys.stderr, flush=True)
