"""Compiling is tried, and never costs a training; torch's compiler itself is a slow test."""

import shutil
import warnings

import pytest
import torch
from conftest import tiny
from torch import nn

from firstlight import run
from firstlight.callbacks.compile import Compile
from firstlight.model.classifier import Classifier

VGG = [*tiny("vgg16"), "data.num_samples=10", "callbacks=none", "trainer.compile_network=true"]


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


def fit(composed, *words):
    model, data, trainer = run.build(composed(*VGG, *words))
    trainer.fit(model, data)
    return model, trainer


def test_full_batches_run_compiled_and_the_short_last_one_as_it_is(composed, calls):
    fit(composed, "data.drop_last=false")  # 10 samples in batches of 4

    train = [shape for shape in calls if shape[0]]
    assert [shape[1] for shape in train] == [4, 4, 4]  # the rehearsal, and two steps
    assert STANCES[-1] == "default"  # torch is left as it was


def test_too_few_steps_are_not_worth_it(composed, calls):
    model, _ = fit(composed, "trainer.compile_network=1000")

    assert calls == []
    assert model.network._compiled_call_impl is None


def test_the_trainer_compiles_only_if_asked(composed):
    _, _, trainer = run.build(composed(*VGG, "trainer.compile_network=false"))

    assert not any(isinstance(each, Compile) for each in trainer.callbacks)


def test_accumulated_gradients_forbid_cuda_graphs(composed, calls):
    _, trainer = fit(composed, "trainer.accumulate_grad_batches=2", "trainer.compile_mode=reduce-overhead")

    assert next(each for each in trainer.callbacks if isinstance(each, Compile)).mode == "default"


def test_a_network_that_cannot_be_compiled_trains_after_one_line(composed, monkeypatch):
    def compile_(network, mode):
        def compiled(inputs):
            raise RuntimeError("no kernel for this\nand a page of reasons")

        network._compiled_call_impl = compiled

    monkeypatch.setattr(nn.Module, "compile", compile_)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model, trainer = fit(composed)
    lines = [str(each.message) for each in told if "torch.compile" in str(each.message)]

    assert lines == [
        "torch.compile failed for VGG16 (RuntimeError: no kernel for this): it runs uncompiled; "
        "trainer.compile_network=false saves the attempt"
    ]
    assert trainer.global_step == 2
    assert model.network._compiled_call_impl is None


def test_the_rehearsal_leaves_no_trace(composed, calls):
    model, trainer = fit(composed)
    plain, _ = fit(composed, "trainer.compile_network=false")

    assert calls
    assert trainer.global_step == 2
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


class Small(Classifier):
    """The least that a compiler can work on."""

    reads = "images"

    def __init__(self):
        # SGD: AdamW would scale up the rounding of gradients that are zero, those of the bias before the norm.
        super().__init__(["class 0", "class 1"], 0.0, {"_target_": "torch.optim.SGD", "lr": 0.1}, None)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, inputs):
        return self.network(inputs)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ for the CPU")
def test_compiled_and_plain_training_agree_and_share_their_checkpoints(composed, monkeypatch):
    monkeypatch.setattr(run, "build_model", lambda settings, facts: Small())
    words = ["model=vgg16", "data=fake_images", "data.image_size=2", "data.num_classes=2", "data.num_samples=12"]
    words += ["data.batch_size=4", "trainer=cpu", "logger=none", "callbacks=none", "trainer.max_epochs=2"]
    losses = {}
    for asked in ("true", "false"):
        torch.manual_seed(0)
        model, data, trainer = run.build(composed(*words, f"trainer.compile_network={asked}", "data.drop_last=false"))
        trainer.fit(model, data)
        losses[asked] = model

    assert losses["true"].network._compiled_call_impl is not None
    theirs = losses["false"].state_dict()
    assert list(theirs) == list(losses["true"].state_dict())
    for name, value in losses["true"].state_dict().items():
        assert torch.allclose(value.float(), theirs[name].float(), atol=1e-5), name
