"""What is known of a training of an example: its arithmetic, its operators on MPS, and its memory there."""

import functools
import json
import resource
import subprocess
import sys

import pytest

from firstlight import build
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.model.flops import count_flops_per_sample
from firstlight.mps.dry_run import dry_run
from support.options import make_tiny_overrides


@functools.cache
def build_cached(model: str, *overrides: str):
    """Return model, data and trainer on the CPU; a dry run leaves them as they are."""
    return build.build(compose_config("train", ["output_dir=.", *make_tiny_overrides(model), *overrides]))


def run_dry_run(model, data, trainer, precision: str):
    """Return what MPS would say of a training."""
    return dry_run(model, data, trainer, precision, deterministic=False)


def check_workload(model: str, batch_size: int) -> None:
    """Hold the batch size at which the benchmark trains a model, if it does, against the announced one."""
    benchmark = pytest.importorskip("firstlight.benchmark.__main__")
    cfg = compose_config("benchmark", [])
    if model not in cfg.workloads:
        pytest.skip(f"the benchmark has no training of {model}")
    training = compose_config("train", benchmark.make_workload_overrides(cfg, model))
    validate_config(training)

    assert training.data.batch_size == batch_size


def check_flops(model, inputs, training: float) -> None:
    """Hold the arithmetic of a sample, in 1e9 operations, against the published one."""
    assert count_flops_per_sample(model, inputs) / 1e9 == pytest.approx(training, rel=2e-3)
    assert count_flops_per_sample(model, inputs, training=False) / 1e9 == pytest.approx(training / 3, rel=0.02)


def check_memory(words: list[str], gib: float) -> None:
    """Hold what preflight says of a training against what was measured on MPS."""
    pytest.importorskip("firstlight.preflight.__main__")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "firstlight.preflight", *words, "json=true"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    weights = found["memory"]["training"]["weights"] / 2**30

    assert [] == found["faults"] == found["warnings"]
    # Gradients of the step before add at most one copy of the weights.
    assert 0.98 * gib <= found["memory"]["training"]["peak"] / 2**30 <= 1.02 * gib + weights
    # The whole command takes 14 to 18 s of a core that has nothing else to do.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 25
