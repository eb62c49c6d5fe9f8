"""The exponential moving average of the weights: its closed formula, and which commands use it."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from firstlight import build as builder
from firstlight import evaluate, train
from firstlight.callbacks.ema import EMAModel
from firstlight.config.compose import compose_config
from firstlight.mps.dry_run import dry_run
from firstlight.run.errors import ConfigError
from support.interruption import load_saved, read_record
from support.tiny_training import NO_PLOTS, OVERRIDES

RUN = [*OVERRIDES, *NO_PLOTS, "data.num_samples=24", "trainer.max_epochs=2", "optimizer.lr=0.03"]


class WeightRecorder(Callback):
    """Record the weights after each step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.weights.append({name: value.numpy().copy() for name, value in pl_module.state_dict().items()})


def train_and_record(run_dir, *overrides, monkeypatch):
    """Train, and return the weights after each step."""
    recorder, build_trainer = WeightRecorder(), builder.build_trainer

    def build_with_recorder(*args):
        trainer = build_trainer(*args)
        trainer.callbacks.insert(0, recorder)
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(builder, "build_trainer", build_with_recorder)
        train.main(compose_config("train", [*RUN, *overrides, f"output_dir={run_dir}"]))
    return recorder.weights


def compute_average(weights, decay):
    """Return the closed formula of the average: d^(n-1) w[1] + (1 - d) * sum of d^(n-k) w[k] for k = 2..n."""
    count = len(weights)
    factors = [decay ** (count - 1), *((1 - decay) * decay ** (count - k) for k in range(2, count + 1))]
    assert sum(factors) == pytest.approx(1)
    return {
        name: sum(factor * values[name].astype(np.float64) for factor, values in zip(factors, weights, strict=True))
        for name in weights[0]
    }


@pytest.mark.parametrize(
    ("overrides", "updates"),
    [
        ([], slice(0, 12)),
        (["callbacks.ema.update_every_n_steps=3", "callbacks.ema.update_starting_at_step=4"], slice(6, 12, 3)),
    ],
)
def test_saved_weights_are_the_closed_formula(tmp_path, monkeypatch, overrides, updates):
    weights = train_and_record(tmp_path, "callbacks.ema.decay=0.8", *overrides, "test=false", monkeypatch=monkeypatch)
    expected = compute_average(weights[updates], 0.8)
    saved = load_saved(tmp_path)

    assert len(weights) == 12
    for name, value in saved["state_dict"].items():
        if value.is_floating_point():
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=0, atol=1e-6)
        else:
            assert value == weights[-1][name]  # counters of batch norms are not averaged
    assert all(np.array_equal(value.numpy(), weights[-1][name]) for name, value in saved["current_model_state"].items())


@pytest.mark.parametrize(
    ("overrides", "step", "key"),
    [
        (["callbacks.ema.update_starting_at_step=12"], 13, "update_starting_at_step"),
        (
            ["callbacks.ema.update_starting_at_step=1", "callbacks.ema.update_every_n_steps=100"],
            101,
            "update_every_n_steps",
        ),
    ],
)
def test_average_that_is_never_updated_is_one_line(compose_cfg, overrides, step, key):
    late = ["callbacks.ema.decay=0.8", *overrides]
    model, data, trainer = builder.build(compose_cfg(*RUN, *late))
    message = rf"decay=0.8 has no effect: .* step {step}, but .* 12 optimizer steps. Decrease callbacks.ema.{key}, or"
    with pytest.raises(ConfigError, match=message):
        trainer.fit(model, data)


def test_single_update_is_noted(compose_cfg, capsys):
    rare = ["callbacks.ema.decay=0.8", "callbacks.ema.update_every_n_steps=12"]
    model, data, trainer = builder.build(compose_cfg(*RUN, *rare))
    trainer.fit(model, data)

    assert "note      the average is the weights after step 1: no other update in 12 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_every_command_uses_the_average(tmp_path):
    train.main(compose_config("train", [*RUN, "callbacks.ema.decay=0.8", f"output_dir={tmp_path}"]))
    metrics = evaluate.main(compose_config("evaluate", [f"run={tmp_path}"]))["metrics"]

    assert metrics["test/loss"] == read_record(tmp_path)["metrics"]["test/loss"]


@pytest.mark.slow
def test_average_before_its_first_update_is_the_current_weights(tmp_path):
    late = ["callbacks.ema.decay=0.8", "callbacks.ema.update_starting_at_step=11"]
    for name, overrides in (("late", late), ("plain", [])):
        train.main(compose_config("train", [*RUN, *overrides, f"output_dir={tmp_path / name}"]))
    records = [read_record(tmp_path / name)["metrics"] for name in ("late", "plain")]

    assert records[0]["val/loss"] == records[1]["val/loss"]
    assert records[0]["test/loss"] == records[1]["test/loss"]


def test_memory_estimate_includes_the_average(compose_cfg):
    estimates = []
    for overrides in ([], ["callbacks.ema.decay=0.9"]):
        model, data, trainer = builder.build(compose_cfg(*RUN, "model.width=64", *overrides))
        estimates.append(dry_run(model, data, trainer, "32-true", deterministic=False).memory_estimate)
    num_bytes = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])

    assert estimates[1].fixed - estimates[0].fixed == pytest.approx(num_bytes, abs=64)


def test_update_does_not_wait_for_the_device(monkeypatch):
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = EMAModel(module, 0.5, torch.device("cpu"))
    average.update_parameters(module)
    expected = module[0].weight.detach() + 1
    nn.init.constant_(module[0].bias, 3.0)
    with torch.no_grad():
        module[0].weight += 2

    def wait(tensor):
        raise AssertionError("waits for the device")

    for name in ("__bool__", "item", "cpu", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, wait)
    average.update_parameters(module)
    monkeypatch.undo()

    torch.testing.assert_close(average.module[0].weight.detach(), expected)
    assert int(average.n_averaged) == 2
