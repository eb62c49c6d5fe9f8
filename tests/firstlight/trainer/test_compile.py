"""Compiling the network: a failure never stops a run. Only slow tests use torch's compiler itself."""

import shutil
import warnings

import pytest
import torch
from torch import nn

from firstlight.trainer.compile import TorchCompile
from support.tiny_training import build_tiny

OVERRIDES = ["data.num_samples=10", "callbacks=none", "trainer.compile=true"]


@pytest.fixture
def compiled_shapes(monkeypatch):
    """Replace the compiler; return the list of (training, *shape) of the batches that run compiled."""
    shapes = []

    def fake_compile(network, mode):
        def compiled(inputs):
            if STANCES[-1] != "default":
                return network._call_impl(inputs)
            shapes.append((network.training, *inputs.shape))
            return network._call_impl(inputs)

        network._compiled_call_impl = compiled

    STANCES[:] = ["default"]
    monkeypatch.setattr(nn.Module, "compile", fake_compile)
    monkeypatch.setattr(torch.compiler, "set_stance", STANCES.append)
    return shapes


STANCES: list[str] = []


@pytest.fixture
def fit(compose_cfg):
    """Return a function that trains the tiny model with compilation."""

    def fit_(*overrides):
        model, data, trainer, _ = build_tiny(compose_cfg, *OVERRIDES, *overrides)
        trainer.fit(model, data)
        return model, trainer

    return fit_


def test_full_batches_run_compiled_and_last_batch_runs_eager(fit, compiled_shapes):
    fit("data.drop_last=false")  # 10 samples in batches of 4

    train = [shape for shape in compiled_shapes if shape[0]]
    assert [shape[1] for shape in train] == [4, 4, 4]  # the warm-up and two steps
    assert STANCES[-1] == "default"  # restored for other models


def test_short_run_is_not_compiled(fit, compiled_shapes):
    model, _ = fit("trainer.compile=auto", "trainer.compile_min_steps=1000")

    assert compiled_shapes == []
    assert model.network._compiled_call_impl is None


def test_compile_can_be_disabled(fit):
    _, trainer = fit("trainer.compile=false")

    assert not any(isinstance(callback, TorchCompile) for callback in trainer.callbacks)


def test_gradient_accumulation_disables_cuda_graphs(fit, compiled_shapes):
    _, trainer = fit("trainer.accumulate_grad_batches=2", "trainer.compile_mode=reduce-overhead")

    (callback,) = (callback for callback in trainer.callbacks if isinstance(callback, TorchCompile))
    assert callback.mode == "default"


def test_compile_failure_warns_and_continues_eager(fit, monkeypatch):
    def failing_compile(network, mode):
        def compiled(inputs):
            raise RuntimeError("no kernel for this\nand a page of reasons")

        network._compiled_call_impl = compiled

    monkeypatch.setattr(nn.Module, "compile", failing_compile)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, trainer = fit()
    messages = [str(warning.message) for warning in caught if "torch.compile" in str(warning.message)]

    assert messages == [
        "torch.compile failed for TinyMLP (RuntimeError: no kernel for this). Continuing without compilation; "
        "set trainer.compile=false to skip the attempt."
    ]
    assert trainer.global_step == 2
    assert model.network._compiled_call_impl is None


def test_warm_up_has_no_side_effects(fit, compiled_shapes):
    model, trainer = fit()
    eager, _ = fit("trainer.compile=false")

    assert compiled_shapes
    assert trainer.global_step == 2
    for name, value in eager.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ for the CPU")
def test_compiled_and_eager_training_match_and_share_checkpoints(compose_cfg):
    models = {}
    for value in ("true", "false"):
        torch.manual_seed(0)
        overrides = ["data.num_samples=10", "data.drop_last=false", "trainer.max_epochs=2", "callbacks=none"]
        model, data, trainer, _ = build_tiny(compose_cfg, *overrides, f"trainer.compile={value}")
        trainer.fit(model, data)
        models[value] = model

    assert models["true"].network._compiled_call_impl is not None
    expected = models["false"].state_dict()
    assert list(expected) == list(models["true"].state_dict())
    for name, value in models["true"].state_dict().items():
        assert torch.allclose(value.float(), expected[name].float(), atol=1e-5), name
