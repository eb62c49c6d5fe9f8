"""Averaged weights: every command uses the average, which the run itself has tested."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import firstlight
from firstlight import evaluate
from firstlight.callbacks.averaged_weights import start_averages
from firstlight.config.compose import compose_config
from support.interruption import read_record
from support.resume_matrix import BASE, MOMENTS, Observer, compose_run, run_attempt, train_with_stops
from support.resume_rows import CALLBACK_ROWS, make_overrides

ROWS = ["EMAWeightAveraging", "StochasticWeightAveraging", "StochasticWeightAveraging without batch norm"]
MORE_ROWS = ["WeightAveraging", "EMA from step 9", "EMA from epoch 1", "EMA without buffers"]


def get_overrides(row):
    """Return the overrides of a row."""
    return make_overrides("plain_finetuned", [*BASE, *CALLBACK_ROWS[row]])


@pytest.mark.parametrize("row", [*ROWS, *(pytest.param(row, marks=pytest.mark.exhaustive) for row in MORE_ROWS)])
def test_evaluate_and_load_use_the_weights_that_the_run_tested(row, tmp_path):
    run_dir = tmp_path / "run"
    run_attempt(compose_run(get_overrides(row), run_dir), Observer())
    evaluated = evaluate.main(compose_config("evaluate", [f"run={run_dir}"]))["metrics"]
    path = read_record(run_dir)["checkpoints"]["best"]
    saved = torch.load(path, weights_only=True)
    weights = firstlight.load(run_dir).model.state_dict()

    assert evaluated["test/loss"] == read_record(run_dir)["metrics"]["test/loss"]
    assert all(torch.equal(weights[name], value) for name, value in saved["state_dict"].items())
    if row.startswith("Stochastic"):
        assert path == str(run_dir / "checkpoints" / "averaged.ckpt")
        average = saved["callbacks"]["StochasticWeightAveraging"]["average_model_state"]
        names = [name for name in weights if name.endswith((".weight", ".bias"))]
        assert all(torch.equal(weights[name], average[name]) for name in names)
    else:
        assert not torch.equal(saved["current_model_state"]["head.weight"], weights["head.weight"])


def test_average_without_updates_follows_the_weights(tmp_path):
    overrides = ["model=plain_finetuned", *BASE, "trainer.max_epochs=1"]
    ema = "+callbacks.more={_target_: lightning.pytorch.callbacks.EMAWeightAveraging, update_starting_at_step: 100}"
    run_attempt(compose_run([*overrides, ema], tmp_path / "ema"), Observer())
    run_attempt(compose_run(overrides, tmp_path / "plain"), Observer())
    metrics = [read_record(tmp_path / name)["metrics"] for name in ("ema", "plain")]

    assert metrics[0]["val/loss"] == metrics[1]["val/loss"]
    assert metrics[0]["test/loss"] == metrics[1]["test/loss"]


@pytest.mark.parametrize("moment", ["end of training", "final test"])
def test_average_is_tested_after_resuming_without_a_step(moment, tmp_path):
    row = ROWS[2]
    train_with_stops(tmp_path, get_overrides(row), MOMENTS[moment])
    run_attempt(compose_run(get_overrides(row), tmp_path / "undisturbed"), Observer())
    metrics = [read_record(tmp_path / name)["metrics"]["test/loss"] for name in ("stopped", "undisturbed")]

    assert metrics[0] == metrics[1]


def test_buffers_of_integers_are_not_averaged():
    module = nn.BatchNorm1d(2)
    module.register_buffer("positions", torch.arange(9), persistent=False)
    callback = EMAWeightAveraging(decay=0.9)
    callback._average_model = AveragedModel(module, use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(3):
        module(torch.randn(4, 2))
        callback._average_model.update_parameters(module)
    start_averages(SimpleNamespace(callbacks=[callback]), module)
    average = callback._average_model.module

    assert average.positions.tolist() == list(range(9))
    assert int(average.num_batches_tracked) == 3
    assert not torch.equal(average.running_mean, module.running_mean)
