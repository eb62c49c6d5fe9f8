"""Check FLOPs, MPS support and MPS memory of a model, for the tests of each model."""

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
    """Return model, data and trainer on the CPU; a dry run does not modify them."""
    return build.build(compose_config("train", ["output_dir=.", *make_tiny_overrides(model), *overrides]))


def run_dry_run(model, data, trainer, precision: str):
    """Return the report of a dry run, in which nondeterministic operators are not errors."""
    return dry_run(model, data, trainer, precision, deterministic=False)


def check_workload(model: str, batch_size: int) -> None:
    """Check the batch size with which the benchmark trains a model, if the model is one of its workloads."""
    benchmark = pytest.importorskip("firstlight.benchmark.workloads")
    cfg = compose_config("benchmark", [])
    if model not in cfg.workloads:
        pytest.skip(f"the benchmark has no workload for {model}")
    train_cfg = compose_config("train", benchmark.make_workload_overrides(cfg, model))
    validate_config(train_cfg)

    assert train_cfg.data.batch_size == batch_size


def check_flops(model, inputs, gflops: float) -> None:
    """Compare the GFLOPs of a sample with the published number.

    Args:
        model: The model.
        inputs: A batch of inputs.
        gflops: Published GFLOPs of a training step per sample; a third of it is the forward pass.
    """
    assert count_flops_per_sample(model, inputs) / 1e9 == pytest.approx(gflops, rel=2e-3)
    assert count_flops_per_sample(model, inputs, training=False) / 1e9 == pytest.approx(gflops / 3, rel=0.02)


def check_memory(overrides: list[str], gib: float) -> None:
    """Compare the memory estimate of preflight with the peak that torch's MemTracker reports.

    Args:
        overrides: Overrides of `make preflight`.
        gib: The peak of a training step in GiB, with the gradients of the previous step, as in Lightning.
    """
    pytest.importorskip("firstlight.preflight.__main__")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "firstlight.preflight", *overrides, "json=true"]
    results = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["result"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert [] == results["errors"] == results["warnings"]
    assert results["memory"]["training"]["peak"] / 2**30 == pytest.approx(gib, rel=0.01)
    # The command takes 14 to 18 s on a core without other work.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 25
