"""Tests of the memory estimate and of the memory that a Mac provides."""

import pytest

from firstlight.hardware.device import GIB
from firstlight.mps.dry_run import dry_run
from firstlight.mps.memory import MemoryEstimate, get_usable_bytes
from support.tiny_training import build_tiny


def test_peak_is_maximum_of_batch_and_optimizer_step():
    estimate = MemoryEstimate(fixed=100, per_sample=10, optimizer_step=150)

    assert estimate.get_peak_bytes(1) == estimate.get_peak_bytes(5) == 150
    assert estimate.get_peak_bytes(10) == 200
    assert estimate.find_max_batch_size(209) == 10
    assert estimate.find_max_batch_size(149) == 0


def test_usable_fraction_is_larger_on_large_macs():
    # Two thirds or three quarters of the memory, minus the headroom of a quarter.
    assert get_usable_bytes(16) == pytest.approx(8 * GIB)
    assert get_usable_bytes(64) == pytest.approx(36 * GIB)


def test_gradients_live_through_the_forward_pass_as_in_lightning(compose_cfg):
    model, data, trainer, _ = build_tiny(compose_cfg, "callbacks=none", "data.num_samples=12")
    peak = dry_run(model, data, trainer, "32-true", deterministic=False).peaks["training"]
    has_gradients = []
    model.network.register_forward_pre_hook(
        lambda module, _: has_gradients.append(all(param.grad is not None for param in module.parameters()))
    )
    trainer.limit_val_batches = 0
    trainer.fit(model, data)

    # A loop that frees them before the forward pass needs less memory.
    assert has_gradients == [False, True, True]
    assert peak["gradients"] == sum(param.nbytes for param in model.parameters())
