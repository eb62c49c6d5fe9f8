"""Throughput metrics, measured with a simulated clock."""

import csv

import pytest
import torch

from firstlight.callbacks import throughput
from firstlight.callbacks.throughput import ThroughputMonitor
from support.tiny_training import build_tiny


class FakeClock:
    """A clock that only training steps and data loading advance."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(throughput.time, "perf_counter", clock.perf_counter)
    return clock


def fit(compose_cfg, monkeypatch, clock, *overrides, step_s=1.0, wait_s=0.0):
    """Train one epoch of 12 steps; return the trainer and the rows of metrics.csv."""
    overrides = ("data.num_samples=48", "trainer.log_every_n_steps=4", *overrides)
    model, data, trainer, cfg = build_tiny(compose_cfg, *overrides)
    training_step, transfer = model.training_step, data.on_after_batch_transfer

    def slow_step(batch, batch_idx):
        clock.now += step_s
        return training_step(batch, batch_idx)

    def slow_transfer(batch, dataloader_idx):
        clock.now += wait_s if trainer.training else 100.0
        return transfer(batch, dataloader_idx)

    monkeypatch.setattr(model, "training_step", slow_step)
    monkeypatch.setattr(data, "on_after_batch_transfer", slow_transfer)
    trainer.fit(model, data)
    with open(f"{cfg.output_dir}/metrics.csv", newline="") as file:
        return trainer, list(csv.DictReader(file))


def test_throughput_and_data_wait_fraction(compose_cfg, monkeypatch, clock):
    trainer, rows = fit(compose_cfg, monkeypatch, clock, step_s=1.5, wait_s=0.5)
    measured = [row for row in rows if row.get("speed/step_ms")]

    assert [row["step"] for row in measured] == ["3", "7", "11", "11"]  # 12 steps, then the mean of the epoch
    assert all(row["speed/samples_per_s"] for row in rows if row.get("train/loss"))  # one row per step
    assert not any("speed/mfu" in row for row in rows)  # CUDA only
    for row in measured:
        assert float(row["speed/step_ms"]) == pytest.approx(2000)
        assert float(row["speed/samples_per_s"]) == pytest.approx(2)  # 4 samples in 2 seconds
        assert float(row["speed/data_wait_fraction"]) == pytest.approx(0.25)
        assert float(row["speed/peak_memory_gib"]) > 0
    assert float(trainer.callback_metrics["speed/samples_per_s"]) == pytest.approx(2)


def test_validation_time_is_excluded(compose_cfg, monkeypatch, clock):
    trainer, _ = fit(compose_cfg, monkeypatch, clock, "trainer.val_check_interval=4", "trainer.limit_val_batches=1")

    assert float(trainer.callback_metrics["speed/samples_per_s"]) == pytest.approx(4)


def test_mfu_is_model_flops_over_peak_flops(compose_cfg):
    callback = ThroughputMonitor()
    callback.flops, callback.peak_flops = 2e9, 1e12
    window = throughput.TimeWindow(steps=10, samples=100, seconds=2.0)

    class Module:
        device = torch.device("cpu")

    assert callback._compute_metrics(window, Module())["speed/mfu"] == pytest.approx(50 * 2e9 / 1e12)
