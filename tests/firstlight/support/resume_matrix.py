"""Compare a run that is stopped and resumed with an undisturbed run: everything that both leave behind."""

import copy
import functools
import itertools
import json
import math
import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from omegaconf import DictConfig

from firstlight import build as builder
from firstlight import train
from firstlight.config.compose import compose_config
from firstlight.run import files
from firstlight.run.files import ENGINE_KEY, list_checkpoints
from support.interruption import read_record, read_rows
from support.options import TINY_OVERRIDES

# 24 training samples in batches of 4: 6 batches per epoch, 2 validation batches, 2 test batches, all of them logged.
SHAPE = ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=4", "trainer.log_every_n_steps=1"]
SHAPE += ["data.num_samples=24", "optimizer.lr=0.03", "logger=none"]
SHAPE += ["callbacks.confusion_matrix=null", "callbacks.first_batch=null", "callbacks.curves=null"]
BASE = [*TINY_OVERRIDES["images"], "data.image_size=2", *SHAPE]
TEXT_BASE = [*TINY_OVERRIDES["text"], "data.num_words=20", *SHAPE]
NUM_BATCHES = 6

# A moment is (hook, n): its n-th call in an attempt, counted from 0. Each list has one moment per attempt.
MOMENTS: dict[str, list[tuple[str, int]]] = {
    "first step": [("train_batch_start", 0)],
    "inside a window": [("train_batch_end", 8)],
    "end of a window": [("train_batch_end", 9)],
    "last batch": [("train_batch_end", 11)],
    "validation": [("validation_batch_start", 3)],
    "end of an epoch": [("train_epoch_end", 1)],
    "last validation": [("validation_batch_start", 7)],
    "end of training": [("train_epoch_end", 3)],
    "final test": [("test_batch_start", 1)],
    "twice": [("train_batch_end", 8), ("train_batch_end", 6)],
    "validation, then step": [("validation_batch_start", 2), ("train_batch_end", 2)],
    "each epoch": [("train_epoch_end", 0), ("train_epoch_end", 0), ("validation_batch_start", 1)],
}
# Differ between runs: times, paths, and the Trainer's own measurements.
VOLATILE = {"config", "time_elapsed", "last_model_path"}


class Observer(Callback):
    """Record the loss and the learning rates of each batch, and send SIGTERM to this process at one moment."""

    def __init__(self, moment: tuple[str, int] | None = None) -> None:
        self.moment = moment
        self.calls: dict[str, int] = {}
        self.seen: dict[Any, Any] = {}

    def count(self, hook: str) -> None:
        """Count a call of a hook, and send the signal if this is the moment."""
        self.calls[hook] = self.calls.get(hook, -1) + 1
        if (hook, self.calls[hook]) == self.moment:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_start(self, *args: Any) -> None:
        self.count("train_batch_start")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        key = (trainer.current_epoch, batch_idx)
        assert key not in self.seen, f"batch {key} was trained twice in one attempt"
        self.seen[key] = (outputs["loss"].item(), batch["ids"].tolist(), rates)
        self.count("train_batch_end")

    def on_validation_batch_start(self, trainer: Any, *args: Any) -> None:
        if not trainer.sanity_checking:
            self.count("validation_batch_start")

    def on_train_epoch_end(self, *args: Any) -> None:
        self.count("train_epoch_end")

    def on_test_batch_start(self, *args: Any) -> None:
        self.count("test_batch_start")


@functools.cache
def compose_once(*overrides: str) -> DictConfig:
    """Compose the config of a new run; composing takes a third of the time of these runs."""
    return compose_config("train", list(overrides))


def run_attempt(cfg: DictConfig, observer: Observer) -> bool:
    """Train and test like `make train`, with an additional callback. Return True if the signal stopped the attempt."""
    build_trainer = builder.build_trainer

    def build_with_observer(*args: Any) -> Any:
        trainer = build_trainer(*args)
        trainer.callbacks.insert(0, observer)
        return trainer

    # The handler of `cli/command.py`, which raises in tests and predictions.
    previous = signal.signal(signal.SIGTERM, raise_stop)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(builder, "build_trainer", build_with_observer)
            patch.setattr(files, "_fsync", lambda path: None)  # takes a sixth of the time
            train.main(cfg)
    except SystemExit as stop:
        return stop.code == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, previous)
    return False


def compose_run(overrides: list[str], run_dir: Path) -> DictConfig:
    """Return the config of a new run in a directory."""
    cfg = copy.deepcopy(compose_once(*overrides))
    cfg.output_dir = str(run_dir)
    return cfg


def raise_stop(number: int, frame: Any) -> None:
    """Raise SystemExit, like the handler of a command."""
    raise SystemExit(128 + number)


def collect_results(run_dir: Path, observers: list[Observer]) -> dict[str, Any]:
    """Return what a run leaves behind, without times and paths."""
    steps: dict[Any, Any] = {}
    for observer in observers:
        repeated = steps.keys() & observer.seen.keys()
        assert not repeated, f"batches {sorted(repeated)} were repeated"
        steps |= observer.seen
    results: dict[str, Any] = {"steps": steps, "rows": read_rows(run_dir)}
    metrics = read_record(run_dir)["metrics"]
    results["metrics"] = {name: value for name, value in metrics.items() if not name.startswith("speed/")}
    best = run_dir / "best.json"
    results["best"] = json.loads(best.read_text()) if best.exists() else None
    for name, path in list_checkpoints(run_dir).items():
        results[name] = torch.load(path, weights_only=True)
        results[name].pop("loops")  # compared by what the run does next
        engine = results[name][ENGINE_KEY]
        del engine["loop_state"]["metrics_rows"]  # some rows have only the throughput
        engine["loop_state"].pop("num_logged_steps", None)  # depends on where the save was due
        logged = engine["loop_state"]["results"]
        logged[0] = [entry for entry in logged[0] if not entry["meta"]["name"].startswith("speed/")]
        engine["metrics"] = {k: v for k, v in engine["metrics"].items() if not k.startswith("speed/")}
    return results


def find_differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Return the paths of values that differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        first, second = ({remove_root(key): value for key, value in part.items()} for part in (first, second))
        keys = sorted({*first, *second}, key=str)
        found = [f"{path}.{key} missing" for key in keys if (key in first) != (key in second) and key not in VOLATILE]
        shared = [key for key in keys if key in first and key in second and key not in VOLATILE]
        nested = (find_differences(first[key], second[key], f"{path}.{key}") for key in shared)
        return [*found, *itertools.chain(*nested)]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return list(itertools.chain(*(find_differences(a, b, f"{path}.{index}") for index, (a, b) in pairs)))
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return [] if torch.equal(first, second) else [f"{path}: tensors"]
    if isinstance(first, str) and isinstance(second, str):
        first, second = remove_root(first), remove_root(second)
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first) and math.isnan(second):
        return []
    return [] if first == second else [f"{path}: {str(first)[:60]} != {str(second)[:60]}"]


def remove_root(value: Any) -> Any:
    """Return a string without the name of the run directory; any other value is returned unchanged."""
    return re.sub(r"/(undisturbed|stopped)\b", "", value) if isinstance(value, str) else value


def train_undisturbed(parent: Path, overrides: list[str]) -> dict[str, Any]:
    """Train without a stop, and return the results."""
    observer = Observer()
    assert not run_attempt(compose_run(overrides, parent / "undisturbed"), observer)
    return collect_results(parent / "undisturbed", [observer])


class MomentError(Exception):
    """A moment did not happen in a run, for example in a run without validation."""


def check_row(parent: Path, overrides: list[str], moments: list[str]) -> list[str]:
    """Compare runs that are stopped at each moment with an undisturbed run; return a line for each that differs."""
    expected, problems = train_undisturbed(parent, overrides), []
    for name in moments:
        shutil.rmtree(parent / "stopped", ignore_errors=True)
        with suppress(MomentError):
            differences = find_differences(expected, train_with_stops(parent, overrides, MOMENTS[name]))
            problems += [f"{name}: {', '.join(differences[:5])}"] if differences else []
    return problems


def train_with_stops(parent: Path, overrides: list[str], moments: list[tuple[str, int]]) -> dict[str, Any]:
    """Train with a stop at each moment, and return the results."""
    run_dir = parent / "stopped"
    observers = []
    cfg = compose_run(overrides, run_dir)
    for moment in moments:
        observers.append(Observer(moment))
        if not run_attempt(cfg, observers[-1]):
            raise MomentError(f"{moment} did not happen")
        cfg = compose_config("train", [f"resume={run_dir}"])
    observers.append(Observer())
    assert not run_attempt(cfg, observers[-1])
    return collect_results(run_dir, observers)
