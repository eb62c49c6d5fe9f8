"""What Speed measures: by a clock of the test's own."""

import csv

import pytest
import torch

from firstlight.callbacks import throughput
from firstlight.callbacks.throughput import ThroughputMonitor
from support.tiny_training import build_tiny


class Clock:
    """A clock that steps and waits move on."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throughput.time, "perf_counter", clock.perf_counter)
    return clock


def fit(compose_cfg, monkeypatch, clock, *words, step=1.0, wait=0.0):
    words = ("data.num_samples=48", "trainer.log_every_n_steps=4", *words)
    model, data, trainer, cfg = build_tiny(compose_cfg, *words)
    inner, transfer = model.training_step, data.on_after_batch_transfer

    def slow_step(batch, batch_idx):
        clock.now += step
        return inner(batch, batch_idx)

    def slow_transfer(batch, dataloader_idx):
        clock.now += wait if trainer.training else 100.0
        return transfer(batch, dataloader_idx)

    monkeypatch.setattr(model, "training_step", slow_step)
    monkeypatch.setattr(data, "on_after_batch_transfer", slow_transfer)
    trainer.fit(model, data)
    with open(f"{cfg.output_dir}/metrics.csv", newline="") as file:
        return trainer, list(csv.DictReader(file))


def test_speed_and_waiting_are_those_of_the_clock(compose_cfg, monkeypatch, clock):
    trainer, rows = fit(compose_cfg, monkeypatch, clock, step=1.5, wait=0.5)
    measured = [row for row in rows if row.get("speed/step_ms")]

    assert [row["step"] for row in measured] == ["3", "7", "11", "11"]  # 12 steps, then the epoch's mean
    assert all(row["speed/samples_per_s"] for row in rows if row.get("train/loss"))  # a step has one row
    assert not any("speed/mfu" in row for row in rows)  # that of CUDA
    for row in measured:
        assert float(row["speed/step_ms"]) == pytest.approx(2000)
        assert float(row["speed/samples_per_s"]) == pytest.approx(2)  # 4 samples in 2 seconds
        assert float(row["speed/data_wait_fraction"]) == pytest.approx(0.25)
        assert float(row["speed/peak_memory_gib"]) > 0
    assert float(trainer.callback_metrics["speed/samples_per_s"]) == pytest.approx(2)


def test_validation_does_not_count(compose_cfg, monkeypatch, clock):
    trainer, _ = fit(compose_cfg, monkeypatch, clock, "trainer.val_check_interval=4", "trainer.limit_val_batches=1")

    assert float(trainer.callback_metrics["speed/samples_per_s"]) == pytest.approx(4)


def test_the_share_of_the_peak_is_arithmetic(compose_cfg):
    callback = ThroughputMonitor()
    callback.flops, callback.peak = 2e9, 1e12
    span = throughput.TimeWindow(steps=10, samples=100, seconds=2.0)

    class Module:
        device = torch.device("cpu")

    assert callback._compute_metrics(span, Module())["speed/mfu"] == pytest.approx(50 * 2e9 / 1e12)
