"""Trainings that are stopped at a chosen moment and go on, for tests that hold them against undisturbed ones."""

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

# With dropout, and 4 steps an epoch, each of which is logged.
SMALL_OVERRIDES = [
    *OVERRIDES,
    "model.dropout=0.5",
    "data.num_samples=16",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
]
SMALL_OVERRIDES += ["test=false"]


class SignalSender(Callback):
    """Note each loss, and send this process a signal at one moment.

    A moment is (hook, n): the n-th call of that hook, from 0.
    """

    def __init__(self, moment=None, number=signal.SIGTERM):
        self.moment, self.number = moment, number
        self.losses = {}
        self.calls = {}

    def _called(self, hook):
        count = self.calls[hook] = self.calls.get(hook, -1) + 1
        if (hook, count) == self.moment:
            os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, *args):
        self._called("train_batch_start")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses[trainer.current_epoch, batch_idx] = outputs["loss"].item(), batch["ids"].tolist()
        self._called("train_batch_end")

    def on_validation_batch_start(self, *args):
        self._called("validation_batch_start")

    def on_train_epoch_end(self, *args):
        self._called("train_epoch_end")


def train_model(words, spy):
    """Train as the command line would, with a spy among the callbacks; return the weights after the last step."""
    build = builder.build_trainer
    kept = {}

    def spied(settings):
        trainer = build(settings)
        trainer.callbacks.insert(0, spy)
        kept["trainer"] = trainer
        return trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "build_trainer", spied)
        train.main(compose_config("train", [*words, "test=false"]))
    return {name: value.clone() for name, value in kept["trainer"].lightning_module.state_dict().items()}


def check_resume_matches_uninterrupted(folder: Path, words, moments, number=signal.SIGTERM, resume=()):
    """Train undisturbed, and stopped at each moment and resumed; refuse any difference."""
    undisturbed = SignalSender()
    expected = train_model([*words, f"output_dir={folder / 'undisturbed'}"], undisturbed)
    losses = {}
    start = [*words, f"output_dir={folder / 'stopped'}"]
    for moment in moments:
        spy = SignalSender(moment, number)
        with pytest.raises(SystemExit):
            train_model(start, spy)
        assert not set(spy.losses) & set(losses), "steps were taken twice"
        losses |= spy.losses
        start = [f"resume={folder / 'stopped'}", *resume]
    spy = SignalSender()
    weights = train_model(start, spy)

    assert not set(spy.losses) & set(losses), "steps were taken twice"
    assert losses | spy.losses == undisturbed.losses
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert read_rows(folder / "stopped") == read_rows(folder / "undisturbed")


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv, but for the figures of speed, which are no result."""
    with (folder / "metrics.csv").open() as file:
        found = csv.DictReader(file)
        kept = [{k: v for k, v in row.items() if v and not k.startswith("speed/")} for row in found]
    return [row for row in kept if row.keys() - {"step", "epoch"}]


def read_record(folder: Path) -> dict:
    """Return run.json."""
    return json.loads((folder / "run.json").read_text())


def load_saved(folder: Path, name: str = "last") -> dict:
    """Return a checkpoint of a run."""
    return checkpoint_io.load_checkpoint(folder / "checkpoints" / f"{name}.ckpt")
