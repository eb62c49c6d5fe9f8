"""A schedule of gradient accumulation: the number of steps, and everything that counts them."""

import csv
import json
import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from firstlight import build
from firstlight.callbacks.accumulation import AccumulationSchedule
from firstlight.config.switches import count_scheduled_steps, get_accumulated_batches
from firstlight.run.errors import ConfigError
from firstlight.run.files import to_plain_dict
from firstlight.run_data.learning_curves import CurveTable
from firstlight.run_data.run_progress import describe_progress, load_run_plan
from firstlight.trainer.compile import TorchCompile
from firstlight.trainer.steps import list_accumulated_batches
from firstlight.trial.runner import TrialRunner
from support.tiny_training import NO_PLOTS, OVERRIDES

# 6 batches per epoch: 2 steps, 2 steps, 6 steps, 3 steps.
SCHEDULE = "callbacks.accumulation.scheduling={0:4,2:1,3:2}"
RUN = [*OVERRIDES, *NO_PLOTS, "data.num_samples=24", "trainer.max_epochs=4", "trainer.log_every_n_steps=1"]


class StepCounter(Callback):
    """Record the number of steps after each epoch, and the learning rate and gradient of each step."""

    def __init__(self):
        self.steps, self.rates, self.gradients = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.gradients.append(pl_module.network[-1].weight.grad.clone())

    def on_train_epoch_end(self, trainer, pl_module):
        self.steps.append(trainer.global_step)


def train_with_counter(compose_cfg, *overrides):
    """Train; return the trainer and the counter."""
    model, data, trainer = build.build(compose_cfg(*RUN, *overrides))
    counter = StepCounter()
    trainer.callbacks.append(counter)
    trainer.fit(model, data)
    return trainer, counter


@pytest.mark.parametrize(
    ("scheduling", "num_batches", "max_epochs", "max_steps", "expected"),
    [
        ({0: 4, 2: 1, 3: 2}, 6, 4, -1, 2 + 2 + 6 + 3),
        ({1: 3}, 7, 3, -1, 7 + 3 + 3),
        ({0: 4, 2: 1, 3: 2}, 6, 4, 8, 8),
        ({0: 8, 9: 1}, 4, 2, -1, 2),
        ({0: 2}, 10, 10**12, -1, 5 * 10**12),
    ],
)
def test_scheduled_steps(scheduling, num_batches, max_epochs, max_steps, expected):
    assert count_scheduled_steps(scheduling, num_batches, max_epochs, max_steps) == expected


def test_learning_rate_schedule_ends_with_the_run(compose_cfg):
    trainer, counter = train_with_counter(
        compose_cfg, SCHEDULE, "scheduler=cosine", "scheduler.warmup_fraction=0", "optimizer.lr=1"
    )

    assert counter.steps == [2, 4, 10, 13]
    assert trainer.estimated_stepping_batches == 13
    expected = [0.5 * (1 + math.cos(math.pi * step / 13)) for step in range(13)]
    torch.testing.assert_close(counter.rates, expected)


def test_gradients_are_means_over_the_batches(compose_cfg):
    """The first step accumulates 4 batches of 4: its gradient is that of one batch of 16."""
    overrides = ["model.batch_norm=false", "trainer.gradient_clip_val=null", "scheduler=constant"]
    _, accumulated = train_with_counter(compose_cfg, *overrides, SCHEDULE, "trainer.max_epochs=1")
    _, single = train_with_counter(compose_cfg, *overrides, "data.batch_size=16", "trainer.max_epochs=1")

    torch.testing.assert_close(accumulated.gradients[0], single.gradients[0])


def test_progress_counts_scheduled_steps(tmp_path, compose_cfg):
    cfg = to_plain_dict(compose_cfg(*RUN, SCHEDULE))
    (tmp_path / "config.yaml").write_text(json.dumps(cfg).replace('"0"', "0").replace('"2"', "2").replace('"3"', "3"))
    (tmp_path / "run.json").write_text(json.dumps({"samples": {"train": 24}}))
    table = CurveTable()
    with (tmp_path / "metrics.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerows([["epoch", "step", "train/loss"], *[["", step, 1.0] for step in range(10)]])
    table.add_rows((tmp_path / "metrics.csv").read_text().splitlines(keepends=True))
    progress = describe_progress(load_run_plan(tmp_path), table, 0.0)

    assert progress["position"] == "step 10 of 13"
    assert progress["progress"] == pytest.approx(10 / 13)


def test_trials_use_the_largest_number_of_batches(compose_cfg):
    cfg = compose_cfg(*RUN, SCHEDULE)
    settings = to_plain_dict(build.resolve_auto_settings(cfg))

    assert get_accumulated_batches(settings) == 4
    assert TrialRunner(settings).settings["trainer"]["accumulate_grad_batches"] == 4


def test_no_cuda_graphs_if_any_epoch_accumulates(compose_cfg):
    _, _, trainer = build.build(compose_cfg(*RUN, "callbacks.accumulation.scheduling={2:3}"))
    compiler = TorchCompile("reduce-overhead", 10**9)
    trainer.training = True
    trainer.fit_loop.max_epochs = -1
    trainer.fit_loop.epoch_loop.max_steps = 1
    compiler._compile_if_worthwhile(trainer, nn.Linear(1, 1), None)

    assert list_accumulated_batches(trainer) == [1, 3]
    assert compiler.mode == "default"


def test_manual_optimization_is_one_line():
    callback = AccumulationSchedule({0: 2})
    module = SimpleNamespace(automatic_optimization=False)

    with pytest.raises(ConfigError, match=r"has no effect, because SimpleNamespace optimizes manually\. Set"):
        callback.on_fit_start(None, module)
