"""Make a function of a configuration a command: Hydra composes, a mistake is one sentence, the exit code tells."""

import contextlib
import functools
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.check import CONFIGS
from firstlight.mistake import sentence

# Warnings that nobody who trains can act on, each of a library about itself.
NOISE = (
    ".*isinstance\\(treespec, LeafSpec\\)",  # lightning 2.6 with torch 2.13 and newer
    ".*does not have many workers",  # data in memory needs none
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "Experiment logs directory .* exists and is not empty",
    "You called `self.log\\('.*`, but have no logger configured",
    ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`",  # a skipped first step of 16-mixed
    ".*set_vital is deprecated",
)


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
    signal.signal(signal.SIGTERM, terminated)
    # Hydra then raises its errors instead of printing them: here they become a sentence.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        root = root_config(name, sys.argv[1:])
        job = hydra.main(config_path=str(CONFIGS), config_name=root, version_base="1.3")(functools.partial(one, task))
        job()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        tell(error, name)
        sys.exit(1)


def one(task: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """Run one job; in a sweep its failure is told, and left to run.json, so that the others go on."""
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        return task(cfg)
    job = HydraConfig.get().job
    with open_dict(cfg):
        cfg.output_dir = os.path.relpath(HydraConfig.get().runtime.output_dir)
        cfg.name = cfg.name or job.override_dirname
        cfg.group = cfg.group or Path(HydraConfig.get().sweep.dir).name
    print(f"\njob {job.num}  {job.override_dirname}", flush=True)
    try:
        return task(cfg)
    except Exception as error:
        tell(error, cfg.command)
        return None


def root_config(name: str, words: list[str]) -> str:
    """Return the configuration to start from; that of an earlier run becomes the choice `saved`.

    Raises:
        ValueError: the run or checkpoint is not there.
    """
    given = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("-"))
    source = given.get("resume") or given.get("run") or given.get("ckpt")
    if source in (None, "null"):
        if name in ("evaluate", "predict") and not set(words) & {"--help", "-h", "--hydra-help"}:
            raise ValueError(f"{name} needs a trained model: give run=logs/train/<run> or ckpt=<file>")
        return name
    ConfigStore.instance().store(name="saved", node=saved_config(Path(source)))
    return "resume" if "resume" in given else name


def saved_config(source: Path) -> DictConfig:
    """Return the configuration of a run folder or of a checkpoint.

    Raises:
        ValueError: there is none.
    """
    folder = source.parent.parent if source.suffix == ".ckpt" else source
    if (folder / "config.yaml").is_file():
        loaded = OmegaConf.load(folder / "config.yaml")
        assert isinstance(loaded, DictConfig)
        return loaded
    if not source.is_file():
        near = sorted(folder.parent.glob("*/config.yaml"), key=lambda each: each.stat().st_mtime)
        hint = f"the newest there is {near[-1].parent}" if near else "give the folder that a training printed as `run`"
        raise ValueError(f"There is no run in {source}: {hint}")
    from firstlight.run import load_checkpoint

    return OmegaConf.create(load_checkpoint(source)["config"])


def tell(error: Exception, name: str) -> None:
    """Print a mistake of the user's as a sentence, anything else with its traceback."""
    text = sentence(error, name, sys.argv[1:])
    if text is None:
        traceback.print_exception(error)
    else:
        print(f"{name}: {text}", file=sys.stderr, flush=True)


def terminated(number: int, frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C, by way of every `finally`; Lightning alone would leave with exit code 0."""
    raise SystemExit(128 + number)


def quieten() -> None:
    """Silence what a library says about itself."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
