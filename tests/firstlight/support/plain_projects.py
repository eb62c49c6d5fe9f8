"""Checks of plain Lightning projects, which know nothing of the engine."""

import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from firstlight import build as builder
from firstlight import train
from firstlight.config.compose import compose_config

# Name -> training batches per epoch. Each has an option plain_<name> in support/configs/model.
BATCHES = {
    "autoencoder": 6,
    "gan": 6,
    "segmentation": 5,
    "tabular": 3,
    "char_gpt": 6,
    "two_loaders": 5,
    "detector": 6,
    "transformer": 5,
    "own_callbacks": 4,
}
PROJECTS = list(BATCHES)
# These have a validation metric that `callbacks.best.monitor=auto` chooses, or a ModelCheckpoint of their own.
WITH_BEST = {"autoencoder", "tabular", "char_gpt", "detector", "transformer", "own_callbacks"}
WITHOUT_TEST = {"gan", "char_gpt"}
WITHOUT_VALIDATION = {"gan"}
# Its IterableDataset starts again when a run resumes inside an epoch.
NOT_EXACT = {"char_gpt"}


def make_overrides(name: str, *more: str) -> list[str]:
    """Return the overrides of a training run of two epochs."""
    return [f"model=plain_{name}", "trainer=cpu", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", *more]


class StopAt(Callback):
    """Send SIGTERM to this process at the end of the n-th training batch, counted from 0. If None, never."""

    def __init__(self, step: int | None) -> None:
        self.step = step
        self.count = 0

    def on_train_batch_end(self, *args) -> None:
        if self.count == self.step:
            os.kill(os.getpid(), signal.SIGTERM)
        self.count += 1


def train_project(overrides: list[str], stop_at: int | None = None) -> tuple[dict[str, torch.Tensor], int]:
    """Train like `make train`; return the weights after the last step, and the number of steps."""
    build_trainer = builder.build_trainer
    trainers = []
    stop = StopAt(stop_at)

    def build_with_callback(settings, model_kwargs=None):
        trainer = build_trainer(settings, model_kwargs)
        trainer.callbacks.insert(0, stop)
        trainers.append(trainer)
        return trainer

    resumes = any(override.startswith("resume=") for override in overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "build_trainer", build_with_callback)
        train.main(compose_config("train", [*overrides, "test=false", *([] if resumes else ["logger=none"])]))
    return {name: value.clone() for name, value in trainers[-1].lightning_module.state_dict().items()}, stop.count


def check_exact_resume(name: str, parent: Path, *more: str) -> None:
    """Stop a run in the middle of its second epoch and resume it; the weights must be those of an undisturbed run."""
    overrides = make_overrides(name, *more)
    expected, num_steps = train_project([*overrides, f"output_dir={parent / 'whole'}"])
    with pytest.raises(SystemExit):
        train_project([*overrides, f"output_dir={parent / 'stopped'}"], stop_at=BATCHES[name] + 1)
    weights, num_resumed = train_project([f"resume={parent / 'stopped'}"])

    assert num_steps == 2 * BATCHES[name]
    assert num_resumed == BATCHES[name] - 2
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
