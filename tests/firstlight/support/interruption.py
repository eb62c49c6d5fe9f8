"""Training runs that a signal stops at a chosen moment, for comparison with uninterrupted runs."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from firstlight import build as builder
from firstlight import train
from firstlight.checkpoint import io as checkpoint_io
from firstlight.config.compose import compose_config
from support.tiny_training import OVERRIDES

# With dropout, and 4 steps per epoch, all of which are logged.
SMALL_OVERRIDES = [
    *OVERRIDES,
    "model.dropout=0.5",
    "data.num_samples=16",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
]
SMALL_OVERRIDES += ["test=false"]


class SignalSender(Callback):
    """Record each loss, and send a signal to this process at one moment.

    A moment is (hook, n): the n-th call of that hook, counted from 0.
    """

    def __init__(self, moment=None, number=signal.SIGTERM):
        self.moment, self.number = moment, number
        self.losses = {}
        self.calls = {}

    def _count_call(self, hook):
        count = self.calls[hook] = self.calls.get(hook, -1) + 1
        if (hook, count) == self.moment:
            os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, *args):
        self._count_call("train_batch_start")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses[trainer.current_epoch, batch_idx] = outputs["loss"].item(), batch["ids"].tolist()
        self._count_call("train_batch_end")

    def on_validation_batch_start(self, *args):
        self._count_call("validation_batch_start")

    def on_train_epoch_end(self, *args):
        self._count_call("train_epoch_end")


def train_model(overrides, callback):
    """Train like `make train`, with an additional callback; return the weights after the last step."""
    build_trainer = builder.build_trainer
    trainers = []

    def build_with_callback(*args):
        trainer = build_trainer(*args)
        trainer.callbacks.insert(0, callback)
        trainers.append(trainer)
        return trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "build_trainer", build_with_callback)
        train.main(compose_config("train", [*overrides, "test=false"]))
    return {name: value.clone() for name, value in trainers[-1].lightning_module.state_dict().items()}


def check_resume_matches_uninterrupted(parent: Path, overrides, moments, number=signal.SIGTERM, resume=()):
    """Train without interruption, and with a stop at each moment; assert that losses, weights and metrics match.

    Args:
        parent: Directory for both runs.
        overrides: Overrides of the run.
        moments: Moments at which to stop, one per attempt; see `SignalSender`.
        number: The signal.
        resume: Additional overrides when resuming.
    """
    uninterrupted = SignalSender()
    expected = train_model([*overrides, f"output_dir={parent / 'uninterrupted'}"], uninterrupted)
    losses = {}
    attempt = [*overrides, f"output_dir={parent / 'stopped'}"]
    for moment in moments:
        sender = SignalSender(moment, number)
        with pytest.raises(SystemExit):
            train_model(attempt, sender)
        assert not set(sender.losses) & set(losses), "steps were repeated"
        losses |= sender.losses
        attempt = [f"resume={parent / 'stopped'}", *resume]
    sender = SignalSender()
    weights = train_model(attempt, sender)

    assert not set(sender.losses) & set(losses), "steps were repeated"
    assert losses | sender.losses == uninterrupted.losses
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert read_rows(parent / "stopped") == read_rows(parent / "uninterrupted")


def read_rows(run_dir: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without the throughput metrics, which vary between runs."""
    with (run_dir / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if v and not k.startswith("speed/")} for row in csv.DictReader(file)]
    return [row for row in rows if row.keys() - {"step", "epoch"}]


def read_record(run_dir: Path) -> dict:
    """Return the contents of run.json."""
    return json.loads((run_dir / "run.json").read_text())


def load_saved(run_dir: Path, name: str = "last") -> dict:
    """Return the contents of a checkpoint of a run."""
    return checkpoint_io.load_checkpoint(run_dir / "checkpoints" / f"{name}.ckpt")
