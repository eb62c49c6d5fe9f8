"""Compiling is tried, and never costs a training; torch's compiler itself is a slow test."""

import shutil
import warnings

import pytest
import torch
from torch import nn

from firstlight.trainer.compile import TorchCompile
from support.tiny_training import build_tiny

ASKED = ["data.num_samples=10", "callbacks=none", "trainer.compile=true"]


@pytest.fixture
def calls(monkeypatch):
    """In the place of the compiler, a network that tells which shapes reach it compiled."""
    seen = []

    def compile_(network, mode):
        def compiled(inputs):
            if STANCES[-1] != "default":
                return network._call_impl(inputs)
            seen.append((network.training, *inputs.shape))
            return network._call_impl(inputs)

        network._compiled_call_impl = compiled

    STANCES[:] = ["default"]
    monkeypatch.setattr(nn.Module, "compile", compile_)
    monkeypatch.setattr(torch.compiler, "set_stance", STANCES.append)
    return seen


STANCES: list[str] = []


@pytest.fixture
def fit(compose_cfg):
    """Return a function that trains the small model, compiled."""

    def fit_(*words):
        model, data, trainer, _ = build_tiny(compose_cfg, *ASKED, *words)
        trainer.fit(model, data)
        return model, trainer

    return fit_


def test_full_batches_run_compiled_and_the_short_last_one_as_it_is(fit, calls):
    fit("data.drop_last=false")  # 10 samples in batches of 4

    train = [shape for shape in calls if shape[0]]
    assert [shape[1] for shape in train] == [4, 4, 4]  # the rehearsal, and two steps
    assert STANCES[-1] == "default"  # torch is left as it was


def test_too_few_steps_are_not_worth_it(fit, calls):
    model, _ = fit("trainer.compile=auto", "trainer.compile_min_steps=1000")

    assert calls == []
    assert model.network._compiled_call_impl is None


def test_the_trainer_compiles_only_if_asked(fit):
    _, trainer = fit("trainer.compile=false")

    assert not any(isinstance(each, TorchCompile) for each in trainer.callbacks)


def test_accumulated_gradients_forbid_cuda_graphs(fit, calls):
    _, trainer = fit("trainer.accumulate_grad_batches=2", "trainer.compile_mode=reduce-overhead")

    assert next(each for each in trainer.callbacks if isinstance(each, TorchCompile)).mode == "default"


def test_a_network_that_cannot_be_compiled_trains_after_one_line(fit, monkeypatch):
    def compile_(network, mode):
        def compiled(inputs):
            raise RuntimeError("no kernel for this\nand a page of reasons")

        network._compiled_call_impl = compiled

    monkeypatch.setattr(nn.Module, "compile", compile_)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model, trainer = fit()
    lines = [str(each.message) for each in told if "torch.compile" in str(each.message)]

    assert lines == [
        "torch.compile failed for TinyMLP (RuntimeError: no kernel for this): it runs uncompiled; "
        "trainer.compile=false saves the attempt"
    ]
    assert trainer.global_step == 2
    assert model.network._compiled_call_impl is None


def test_the_rehearsal_leaves_no_trace(fit, calls):
    model, trainer = fit()
    plain, _ = fit("trainer.compile=false")

    assert calls
    assert trainer.global_step == 2
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ for the CPU")
def test_compiled_and_plain_training_agree_and_share_their_checkpoints(compose_cfg):
    trained = {}
    for asked in ("true", "false"):
        torch.manual_seed(0)
        words = ["data.num_samples=10", "data.drop_last=false", "trainer.max_epochs=2", "callbacks=none"]
        model, data, trainer, _ = build_tiny(compose_cfg, *words, f"trainer.compile={asked}")
        trainer.fit(model, data)
        trained[asked] = model

    assert trained["true"].network._compiled_call_impl is not None
    theirs = trained["false"].state_dict()
    assert list(theirs) == list(trained["true"].state_dict())
    for name, value in trained["true"].state_dict().items():
        assert torch.allclose(value.float(), theirs[name].float(), atol=1e-5), name
