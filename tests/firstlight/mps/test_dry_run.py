"""Tests of the dry run on the meta device: it finds what MPS does not support, and has no side effects."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from firstlight.mps.dry_run import check_before_training, dry_run
from firstlight.run.errors import HardwareError
from support.mps_checks import build_cached
from support.options import HAS_TEXT, get_tiny_model

GIB = 2**30


def build_with_layers(*layers):
    """Return model, data and trainer, with a tiny network that ends with these layers, "network.3" and following."""
    model, data, trainer = build_cached(get_tiny_model("images"), "seed=1")
    model.network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), *layers)
    return model, data, trainer


class Eigenvalues(nn.Module):
    """An operator without an MPS kernel."""

    def forward(self, inputs):
        return inputs + torch.linalg.eig(inputs.T @ inputs).eigenvalues.real


class UnregisteredTensor(nn.Module):
    """A tensor that is not a buffer, so that it does not move with the model."""

    def __init__(self):
        super().__init__()
        self.scale = torch.ones(2)

    def forward(self, inputs):
        return inputs * self.scale


class Float64Layer(nn.Module):
    """An operator that returns float64."""

    def forward(self, inputs):
        return (inputs.double() * 2).float()


class DataDependentShape(nn.Module):
    """An operator whose output shape depends on values."""

    def forward(self, inputs):
        return inputs + inputs[inputs > 0].sum()


def get_messages(model, data, trainer, kind="error", precision="32-true", deterministic=False):
    return dry_run(model, data, trainer, precision, deterministic=deterministic).format_messages(kind)


@pytest.mark.parametrize(
    ("model", "precision"),
    [("tiny_images", "32-true"), ("tiny_mlp", "16-mixed"), *([("tiny_text", "bf16-mixed")] if HAS_TEXT else [])],
)
def test_supported_model_has_no_findings(model, precision):
    report = dry_run(*build_cached(model), precision, deterministic=False)

    assert report.findings == []
    assert {"training", "evaluation"} == set(report.operators)


def test_image_model_uses_mps_operators():
    operators = dry_run(*build_cached(get_tiny_model("images")), "32-true", deterministic=False).operators

    assert {"aten::linear_backward", "aten::max_pool2d", "aten::max_pool2d_backward"} <= set(operators["training"])
    assert not {"aten::addmm", "aten::max_pool2d_with_indices"} & set(operators["training"])


def test_text_model_uses_mps_operators():
    operators = dry_run(*build_cached(get_tiny_model("text")), "32-true", deterministic=False).operators

    assert "aten::_safe_softmax" in operators["training"]
    assert "aten::_scaled_dot_product_attention_math_for_mps" in operators["evaluation"]


def test_float64_precision_is_error():
    expected = [
        "trainer.precision=64-true requires float64, which MPS does not support. Use trainer.precision=32-true."
    ]

    assert expected == get_messages(*build_with_layers(), precision="64-true")


@pytest.mark.parametrize(("split", "phase"), [("train", "training"), ("val", "evaluation")])
def test_float64_labels_are_error(monkeypatch, split, phase):
    model, data, trainer = build_with_layers()
    monkeypatch.setattr(data.datasets[split], "labels", data.datasets[split].labels.double())
    expected = f"torch.float64 is not supported by MPS (in batch['labels'] of {phase}). Cast it in the dataset."

    assert expected == get_messages(model, data, trainer)[0]


@pytest.mark.parametrize(
    ("layer", "problem", "fix"),
    [
        (
            Eigenvalues(),
            "aten::linalg_eig has no MPS kernel",
            "Use another operator, or set PYTORCH_ENABLE_MPS_FALLBACK=1.",
        ),
        (
            nn.Sequential(nn.Unflatten(1, (1, 1, 2)), nn.FractionalMaxPool2d(1, (1, 1))),
            "aten::fractional_max_pool2d has no MPS kernel",
            "Use another operator, or set PYTORCH_ENABLE_MPS_FALLBACK=1.",
        ),
        (Float64Layer(), "_to_copy returns torch.float64, which MPS does not support", "Use a 32-bit dtype."),
        (UnregisteredTensor(), "mul mixes a CPU tensor with a device tensor", "Register the CPU tensor as a buffer."),
    ],
)
def test_error_contains_location_and_fix(layer, problem, fix):
    message = get_messages(*build_with_layers(layer))[0]

    assert message.startswith(f"{problem} (in network.3")
    assert message.endswith(f"). {fix}")
    assert isinstance(layer, nn.Sequential) or " at tests/firstlight/mps/test_dry_run.py:" in message


def test_adaptive_pooling_with_indivisible_sizes_is_error():
    layers = nn.Unflatten(1, (1, 1, 2)), nn.Upsample(10), nn.AdaptiveAvgPool2d(7), nn.Flatten()
    message = get_messages(*build_with_layers(*layers))[0]

    assert "_adaptive_avg_pool2d from 10 x 10 to 7 x 7 is not supported on MPS, where one size must divide" in message
    assert "(in network.5" in message


def test_missing_kernel_is_warning_with_cpu_fallback(monkeypatch):
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    parts = build_with_layers(Eigenvalues())

    assert not get_messages(*parts)
    assert "aten::linalg_eig has no MPS kernel and falls back" in get_messages(*parts, kind="warning")[0]


def test_nondeterministic_operator_is_error_with_deterministic_true():
    layers = nn.Unflatten(1, (1, 1, 2)), nn.Upsample(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2)
    message = get_messages(*build_with_layers(*layers), deterministic=True)[0]

    assert "aten::max_pool2d_backward is nondeterministic on MPS, but trainer.deterministic=true forbids it" in message
    assert "(in the backward pass of network." in message
    assert message.endswith(" Set trainer.deterministic=warn.")


def test_long_reduction_is_warning():
    layers = nn.Unflatten(1, (1, 1, 2)), nn.Upsample(256), nn.Flatten(), nn.Linear(256 * 256, 2)
    parts = build_with_layers(*layers)

    assert not get_messages(*parts)
    assert "linear reduces over 65,536 elements, and on M1 and M2" in get_messages(*parts, kind="warning")[0]


@pytest.mark.parametrize(("chip", "is_affected"), [("Apple M2 Max", True), ("Apple M4", False), ("", False)])
def test_long_reduction_warning_only_on_m1_and_m2(monkeypatch, chip, is_affected):
    layers = nn.Unflatten(1, (1, 1, 2)), nn.Upsample(256), nn.Flatten(), nn.Linear(256 * 256, 2)
    monkeypatch.setattr("firstlight.mps.dry_run.get_chip_name", lambda: chip)

    assert is_affected == ("M1 and M2" in check_before_training(*build_with_layers(*layers)))


def test_data_dependent_shape_is_warning():
    parts = build_with_layers(DataDependentShape())
    report = dry_run(*parts, "32-true", deterministic=False)
    message = report.format_messages("warning")[0]

    assert not report.format_messages("error")
    assert message.startswith("MPS check stopped at aten::index.Tensor with ")
    assert "(in network.3" in message
    assert "MPS check stopped at " in check_before_training(*parts)


def test_memory_estimate_is_linear_and_categories_sum_to_peak(monkeypatch):
    model, data, trainer = build_with_layers()
    monkeypatch.setattr(data, "batch_size", 64)
    report = dry_run(model, data, trainer, "32-true", deterministic=False)
    training, evaluation = report.peaks["training"], report.peaks["evaluation"]
    # The network has 8 parameters after the mean over the pixels of each channel, so the images need most memory.
    num_pixels, bytes_per_float = 3 * data.image_size**2, 4

    assert report.memory_estimate.get_peak_bytes(64) == sum(training.values())
    assert num_pixels * bytes_per_float == pytest.approx(report.memory_estimate.per_sample, rel=0.5)
    assert 8 * bytes_per_float == training["weights"] == evaluation["weights"]
    assert 2 * training["weights"] == training["optimizer state"]
    assert evaluation["optimizer state"] == evaluation["gradients"] == 0


def test_half_precision_halves_memory_per_sample():
    full, half = (
        dry_run(*build_cached(get_tiny_model("images")), precision, deterministic=False).memory_estimate
        for precision in ("32-true", "bf16-true")
    )

    assert full.per_sample / 2 == pytest.approx(half.per_sample, rel=0.1)


def capture_state(model):
    num_hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    rng_states = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())  # noqa: NPY002
    params = [(param.device.type, param.grad, float(param.detach().double().sum())) for param in model.parameters()]
    return num_hooks, rng_states, params, model._trainer, torch.is_autocast_enabled("xpu")


def test_check_before_training_has_no_side_effects():
    model, data, trainer = build_cached(get_tiny_model("text", "images"))
    state, data_attributes = capture_state(model), dict(vars(data))
    line = check_before_training(model, data, trainer)
    product = torch.ones(2, 3, device="meta", requires_grad=True) @ torch.ones(3, 2, device="meta")
    output = nn.functional.linear(torch.ones(2, 3, device="meta", requires_grad=True), torch.ones(2, 3, device="meta"))

    assert line.startswith("MPS check passed; estimated memory ")
    assert state == capture_state(model)
    assert data_attributes == vars(data)
    # Outside of the dry run, a linear layer on the meta device is an ordinary matrix product.
    assert type(product.grad_fn) is type(output.grad_fn)


def test_check_before_training_raises_for_unsupported_operator():
    with pytest.raises(HardwareError, match="This run would fail on MPS: aten::linalg_eig has no MPS kernel"):
        check_before_training(*build_with_layers(Eigenvalues()))


def test_check_before_training_compares_memory_with_local_limit(monkeypatch):
    parts = build_with_layers()
    monkeypatch.setattr(parts[1], "batch_size", 30_000)
    monkeypatch.setattr("firstlight.mps.dry_run.get_local_mps_limit", lambda: 16 * GIB)
    assert check_before_training(*parts).endswith(" of 16.0 GiB.")
    monkeypatch.setattr("firstlight.mps.dry_run.get_local_mps_limit", lambda: 0.3 * GIB)

    with pytest.raises(
        HardwareError,
        match="Estimated memory exceeds the limit: data.batch_size=30000 needs about .* GiB, but the GPU may use "
        "0.30 GiB. Set data.batch_size to ",
    ):
        check_before_training(*parts)


def test_check_before_training_never_fails_itself(monkeypatch):
    model, data, trainer = build_with_layers()
    monkeypatch.delitem(data.datasets, "val")

    assert check_before_training(model, data, trainer) == "Not checked: no batch on the meta device (KeyError: 'val')."
