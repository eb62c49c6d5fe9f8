"""A step on shapes alone finds what MPS would refuse, and changes nothing."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from firstlight.mps.dry_run import check_before_training, dry_run
from support.mps_checks import build_cached
from support.options import HAS_TEXT, get_tiny_model

GIB = 2**30


def small(*parts):
    """Return model, data and trainer, the network being a tiny one with these parts at its end, "network.3" and on."""
    model, data, trainer = build_cached(get_tiny_model("images"), "seed=1")
    model.network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), *parts)
    return model, data, trainer


class Eigenvalues(nn.Module):
    def forward(self, inputs):
        return inputs + torch.linalg.eig(inputs.T @ inputs).eigenvalues.real


class Stranded(nn.Module):
    """A tensor that is no buffer, so that it does not move with the model."""

    def __init__(self):
        super().__init__()
        self.scale = torch.ones(2)

    def forward(self, inputs):
        return inputs * self.scale


class Doubled(nn.Module):
    def forward(self, inputs):
        return (inputs.double() * 2).float()


class Chosen(nn.Module):
    """How many numbers are positive, only numbers can tell."""

    def forward(self, inputs):
        return inputs + inputs[inputs > 0].sum()


def faults(model, data, trainer, kind="fault", precision="32-true", deterministic=False):
    return dry_run(model, data, trainer, precision, deterministic=deterministic).format_messages(kind)


@pytest.mark.parametrize(
    ("model", "precision"),
    [("tiny_images", "32-true"), ("tiny_mlp", "16-mixed"), *([("tiny_text", "bf16-mixed")] if HAS_TEXT else [])],
)
def test_what_mps_can_run_has_no_fault(model, precision):
    report = dry_run(*build_cached(model), precision, deterministic=False)

    assert report.findings == []
    assert {"training", "evaluation"} == set(report.operators)


def test_operators_of_images_are_those_of_mps():
    images = dry_run(*build_cached(get_tiny_model("images")), "32-true", deterministic=False).operators

    assert {"aten::linear_backward", "aten::max_pool2d", "aten::max_pool2d_backward"} <= set(images["training"])
    assert not {"aten::addmm", "aten::max_pool2d_with_indices"} & set(images["training"])


def test_operators_of_texts_are_those_of_mps():
    text = dry_run(*build_cached(get_tiny_model("text")), "32-true", deterministic=False).operators

    assert "aten::_safe_softmax" in text["training"]
    assert "aten::_scaled_dot_product_attention_math_for_mps" in text["evaluation"]


def test_64_bits_are_refused_at_once():
    expected = ["trainer.precision=64-true needs float64, which MPS lacks: choose 32-true"]

    assert expected == faults(*small(), precision="64-true")


@pytest.mark.parametrize(("split", "kind"), [("train", "training"), ("val", "evaluation")])
def test_a_float64_label_is_named(monkeypatch, split, kind):
    model, data, trainer = small()
    monkeypatch.setattr(data.datasets[split], "labels", data.datasets[split].labels.double())
    expected = f"torch.float64 does not fit MPS: cast it in the data set, in batch['labels'] of {kind}"

    assert expected == faults(model, data, trainer)[0]


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (Eigenvalues(), "aten::linalg_eig has no MPS kernel: use another operator, or set PYTORCH_ENABLE_MPS_FALL"),
        (nn.Sequential(nn.Unflatten(1, (1, 1, 2)), nn.FractionalMaxPool2d(1, (1, 1))), "aten::fractional_max_pool2d h"),
        (Doubled(), "_to_copy makes torch.float64, which MPS does not have"),
        (Stranded(), "a tensor stayed on the CPU and meets one on the device in mul: register it as a buffer"),
    ],
)
def test_a_fault_in_a_model_names_its_place(part, sentence):
    first, _, place = faults(*small(part))[0].partition(", in ")

    assert first.startswith(sentence)
    assert place.startswith("network.3")
    assert isinstance(part, nn.Sequential) or "at tests/firstlight/mps/test_dry_run.py:" in place


def test_a_pooling_that_does_not_divide_is_a_fault():
    found = faults(*small(nn.Unflatten(1, (1, 1, 2)), nn.Upsample(10), nn.AdaptiveAvgPool2d(7), nn.Flatten()))

    assert "_adaptive_avg_pool2d from 10 x 10 to 7 x 7: on MPS one size must divide the other" in found[0]
    assert ", in network.5" in found[0]


def test_a_missing_operator_is_a_warning_where_the_cpu_may_help(monkeypatch):
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    parts = small(Eigenvalues())

    assert not faults(*parts)
    assert "aten::linalg_eig has no MPS kernel and falls back" in faults(*parts, kind="warning")[0]


def test_determinism_is_a_fault_only_where_it_is_asked_for():
    pooled = nn.Unflatten(1, (1, 1, 2)), nn.Upsample(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2)
    found = faults(*small(*pooled), deterministic=True)

    assert "aten::max_pool2d_backward varies on MPS and trainer.deterministic=true refuses it" in found[0]
    assert "in the backward pass of network." in found[0]


def test_a_long_sum_is_a_warning():
    parts = small(nn.Unflatten(1, (1, 1, 2)), nn.Upsample(256), nn.Flatten(), nn.Linear(256 * 256, 2))

    assert not faults(*parts)
    assert "linear sums over 65536 numbers, and M1 and M2" in faults(*parts, kind="warning")[0]


@pytest.mark.parametrize("early", [True, False])
def test_a_training_warns_of_long_sums_only_where_they_may_be_wrong(monkeypatch, early):
    parts = small(nn.Unflatten(1, (1, 1, 2)), nn.Upsample(256), nn.Flatten(), nn.Linear(256 * 256, 2))
    monkeypatch.setattr("firstlight.mps.dry_run.is_m1_or_m2", lambda: early)

    assert early == ("M1 and M2" in check_before_training(*parts))


def test_what_depends_on_numbers_is_said_not_failed():
    parts = small(Chosen())
    report = dry_run(*parts, "32-true", deterministic=False)

    assert not report.format_messages("fault")
    assert report.format_messages("warning")[0].startswith("could not be judged: aten::index.Tensor (")
    assert "in network.3" in report.format_messages("warning")[0]
    assert "could not be judged" in check_before_training(*parts)


def test_memory_grows_by_the_sample_and_the_parts_add_up(monkeypatch):
    model, data, trainer = small()
    monkeypatch.setattr(data, "batch_size", 64)
    report = dry_run(model, data, trainer, "32-true", deterministic=False)
    training, evaluation = report.peaks["training"], report.peaks["evaluation"]
    # Ask for the mean of each colour: 8 numbers are learned, and the images themselves take most.
    pixels, bytes_each = 3 * data.image_size**2, 4

    assert report.memory_estimate.get_peak_bytes(64) == sum(training.values())
    assert pixels * bytes_each == pytest.approx(report.memory_estimate.per_sample, rel=0.5)
    assert 8 * bytes_each == training["weights"] == evaluation["weights"]
    assert 2 * training["weights"] == training["optimizer state"]
    assert evaluation["optimizer state"] == evaluation["gradients"] == 0


def test_half_precision_halves_what_a_step_keeps():
    full, half = (
        dry_run(*build_cached(get_tiny_model("images")), each, deterministic=False).memory_estimate
        for each in ("32-true", "bf16-true")
    )

    assert full.per_sample / 2 == pytest.approx(half.per_sample, rel=0.1)


def state_of(model):
    hooks = [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules()]
    random_states = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())  # noqa: NPY002
    weights = [(each.device.type, each.grad, float(each.detach().double().sum())) for each in model.parameters()]
    return hooks, random_states, weights, model._trainer, torch.is_autocast_enabled("xpu")


def test_a_quick_look_changes_nothing():
    model, data, trainer = build_cached(get_tiny_model("text", "images"))
    before, settings = state_of(model), dict(vars(data))
    line = check_before_training(model, data, trainer)
    product = torch.ones(2, 3, device="meta", requires_grad=True) @ torch.ones(3, 2, device="meta")
    layer = nn.functional.linear(torch.ones(2, 3, device="meta", requires_grad=True), torch.ones(2, 3, device="meta"))

    assert line.startswith("no fault found beforehand, training needs about ")
    assert before == state_of(model)
    assert settings == vars(data)
    # A linear layer on `meta` is an ordinary product once more.
    assert type(product.grad_fn) is type(layer.grad_fn)


def test_a_quick_look_refuses_in_a_sentence():
    with pytest.raises(ValueError, match="This training would fail on MPS: aten::linalg_eig has no MPS kernel"):
        check_before_training(*small(Eigenvalues()))


def test_a_quick_look_knows_this_macs_memory(monkeypatch):
    parts = small()
    monkeypatch.setattr(parts[1], "batch_size", 30_000)
    monkeypatch.setattr("firstlight.mps.dry_run.get_local_mps_limit", lambda: 16 * GIB)
    assert check_before_training(*parts).endswith(" of 16.0 GiB")
    monkeypatch.setattr("firstlight.mps.dry_run.get_local_mps_limit", lambda: 0.3 * GIB)

    with pytest.raises(
        ValueError,
        match="out of memory beforehand: data.batch_size=30000 needs about .*, but the GPU may use 0.30: give data",
    ):
        check_before_training(*parts)


def test_a_quick_look_never_fails_itself(monkeypatch):
    model, data, trainer = small()
    monkeypatch.delitem(data.datasets, "val")

    assert check_before_training(model, data, trainer) == "could not be judged beforehand (KeyError: 'val')"
