"""Make a function of a configuration a command: Hydra composes, a mistake is one sentence, the exit code tells."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from firstlight.check import AUTO, CONFIGS
from firstlight.compose import any_checkpoint, composed, root_config
from firstlight.lock import LET_GO_S, is_free, locked
from firstlight.mistake import sentence
from firstlight.mps.watermarks import set_watermarks
from firstlight.ranks import follow, follows
from firstlight.record import free_memory, read_json
from firstlight.signals import listen

# Warnings that nobody who trains can act on, each of a library about itself.
NOISE = (
    ".*isinstance\\(treespec, LeafSpec\\)",  # lightning 2.6 with torch 2.13 and newer
    "Found .* module\\(s\\) in eval mode",  # frozen layers
    ".*does not have many workers",  # data in memory needs none
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "Precision .* is not supported by the model summary",  # which estimates a size that nobody asked for
    "The dirpath has changed",  # a run that was moved
    "Experiment logs directory .* exists and is not empty",
    "You called `self.log\\('.*`, but have no logger configured",
    ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`",  # a skipped first step of 16-mixed
    ".*set_vital is deprecated",
    "IProgress not found",  # in a notebook, of a bar that is never shown
    "GPU available but not used",  # trainer=cpu was typed
    "It is recommended to use `self.log\\(",  # on several devices all log the same
    "torch.distributed is disabled, unavailable or uninitialized",  # a checkpoint in parts, read by one process
    "The `srun` command is available on your system but is not used",
    ".*mps.* does not have a deterministic implementation",  # trainer=mps allows them; `make preflight` names them
)

# What was asked for by `make sweep`, in the sweep's folder.
SWEEP_FILE = "sweep.json"


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[..., Any]]:
    """Return the decorator that makes a function of cfg the command with this name.

    Called with a configuration, the function runs as it is; called without, it reads the command line.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[..., Any]:
        @functools.wraps(task)
        def main(cfg: DictConfig | None = None) -> Any:
            return task(cfg) if cfg is not None else run_from_command_line(name, task)

        return main

    return decorate


def run_from_command_line(name: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose by Hydra, run the task once or for each job of a sweep, and leave with an exit code."""
    quieten()
    received: list[int] = []
    listen((signal.SIGTERM, signal.SIGHUP), functools.partial(terminated, received))
    # Hydra then raises its errors instead of printing them: here they become a sentence.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    failures: list[str] = []
    if follows():
        if name == "train":
            follow(task)
        return
    try:
        set_watermarks(os.environ)  # before torch is imported
        root, sys.argv[1:] = root_config(name, sys.argv[1:])
        job = functools.partial(one, task, failures)
        hydra.main(config_path=str(CONFIGS), config_name=root, version_base="1.3")(job)()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as stop:
        # Lightning may turn the signal into an exit of its own, with code 0.
        sys.exit(128 + received[0] if received else stop.code)
    except Exception as error:
        tell(error, name)
        sys.exit(1)
    if failures:
        sys.exit(1)


def one(task: Callable[[DictConfig], Any], failures: list[str], cfg: DictConfig) -> Any:
    """Run one job; a failure is told and counted, so that the other jobs of a sweep go on."""
    if follows():  # of a job that Slurm runs in several processes
        return follow(task)
    job = HydraConfig.get().job
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if in_sweep:
        name_job(cfg)
        if may_go_on() and (state := state_of(Path(cfg.output_dir))):
            print(f"job {job.num}  {cfg.name}: {state}", flush=True)
            return None
        print(f"\njob {job.num}  {cfg.name}", flush=True)
    try:
        if in_sweep and starts_processes(cfg):
            return run_apart(cfg, failures)
        return task(gone_on_with(cfg) if in_sweep and may_go_on() else cfg)
    except Exception as error:
        tell(error, cfg.command)
        failures.append(cfg.command)
    # Outside the handler: the error's traceback held the job's model.
    free_memory()
    return None


def starts_processes(cfg: DictConfig) -> bool:
    """Say whether a job makes processes for its devices, which none of the sweep's own can be."""
    return "trainer" in cfg and cfg.trainer.strategy != AUTO and "SLURM_PROCID" not in os.environ


def run_apart(cfg: DictConfig, failures: list[str]) -> None:
    """Run a job as a command of its own, which tells what becomes of it."""
    folder = Path(cfg.output_dir)
    words = [f"resume={folder}"]
    if not any_checkpoint(folder):
        gone_on_with(cfg)
        own = {"output_dir": folder, "name": cfg.name, "group": cfg.group}
        words = [*HydraConfig.get().overrides.task, *(f"{name}='{value}'" for name, value in own.items())]
    process = subprocess.Popen([sys.executable, "-m", f"firstlight.{cfg.command}", *words])
    try:
        code = process.wait()
    except BaseException as stop:
        # Ctrl-C has reached it, too; it saves before it ends.
        if isinstance(stop, SystemExit):
            process.terminate()
        process.wait()
        raise
    failures += [cfg.command] if code else []


def state_of(folder: Path) -> str:
    """Return why a job is not to be started: it is finished, or another process runs it; nothing if it is."""
    status = read_json(folder / "run.json").get("status")
    if status == "running":
        return "" if is_free(folder, LET_GO_S) else "is running"
    return "is finished" if status == "finished" else ""


def name_job(cfg: DictConfig) -> None:
    """Give a job of a sweep its folder, its name and its group."""
    hydra_cfg = HydraConfig.get()
    with open_dict(cfg):
        cfg.output_dir = os.path.relpath(hydra_cfg.runtime.output_dir)
        cfg.name = cfg.name or what_differs()
        cfg.group = cfg.group or Path(hydra_cfg.sweep.dir).name


def may_go_on() -> bool:
    """Say whether the sweep is one of `make sweep`, whose folder is no other's: what lies there is its own."""
    return (Path(HydraConfig.get().sweep.dir) / SWEEP_FILE).is_file()


def gone_on_with(cfg: DictConfig) -> DictConfig:
    """Return the configuration by which a job goes on from its last checkpoint; without one, it starts anew."""
    folder = Path(cfg.output_dir)
    if read_json(folder / "run.json") and any_checkpoint(folder):
        return composed(cfg.command, [f"resume={folder}"])
    with locked(folder):
        # A folder with run.json is taken: that goes last.
        for name in ("output.log", "metrics.csv", "run.json"):
            if (folder / name).is_file():
                (folder / name).replace(folder / f"earlier_{name}")
    return cfg


def what_differs() -> str:
    """Return the settings of this job of a sweep that are not the same in all of them."""
    cfg = HydraConfig.get()
    same = cfg.job.config.override_dirname.exclude_keys
    return ",".join(word for word in cfg.overrides.task if word.partition("=")[0].lstrip("+~") not in same)


def tell(error: Exception, name: str) -> None:
    """Print a mistake of the user's as a sentence, anything else with its traceback."""
    text = sentence(error, name, sys.argv[1:])
    if text is None:
        traceback.print_exception(error)
    else:
        print(f"{name}: {text}", file=sys.stderr, flush=True)


def show_table(table: Any) -> None:
    """Print a table of rich: as wide as the terminal, and wide in a log file, which has no width."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def terminated(received: list[int], number: int, frame: FrameType | None) -> None:
    """End on a signal as on Ctrl-C, by way of every `finally`."""
    received.append(number)
    raise SystemExit(128 + number)


def quieten() -> None:
    """Silence what a library says about itself."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
    # Threads that wait for work spin for a moment, not for long: on a machine that does more, they halved its speed.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
