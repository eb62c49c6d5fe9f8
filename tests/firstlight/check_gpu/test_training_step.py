"""The training step of a model that the GPU check compares: its inputs, and the reasons why it is skipped."""

import socket

import pytest
from omegaconf import MissingMandatoryValue, OmegaConf

from firstlight.check_gpu import training_step
from firstlight.check_gpu.model_check import LOSS_LIMIT, check_model, find_limits
from firstlight.check_gpu.training_step import StepUnavailableError, TrainingStep, describe_reason, forbid_network
from firstlight.run.errors import ConfigError, DataError


@pytest.mark.slow
def test_step_records_the_loss_and_each_gradient_of_an_untouched_model():
    step = TrainingStep("tiny_mlp")
    names = [name for name, _ in step.runner.model.named_parameters()]

    assert step.reference.keys() == {"loss", *(f"gradient of {name}" for name in names)}
    assert all(param.grad is None for param in step.runner.model.parameters())
    assert find_limits(step)["loss"] < 2 * LOSS_LIMIT


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DataError("data.root=x does not exist. Set it."), "data.root=x does not exist. Set it"),
        (RuntimeError("shapes differ\nat 1"), "its step fails on the CPU (RuntimeError: shapes differ)"),
        (
            socket.gaierror("no"),
            "it requires files that are not on this machine; fetch them with `make prepare model=x`",
        ),
    ],
)
def test_reason_of_a_skipped_model(error, reason):
    assert describe_reason(error, "x") == reason


def test_model_whose_files_are_missing_is_skipped(monkeypatch):
    def raise_data_error(cfg):
        raise DataError("no file.")

    monkeypatch.setattr(training_step, "validate_config", raise_data_error)
    result = check_model("tiny_mlp", "mps")

    assert (result.status, result.message) == ("skipped", "model=tiny_mlp is skipped: no file")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("the kernel is too large"), "its step fails on the CPU (RuntimeError: the kernel is too large)"),
        (ConfigError("It expects boxes."), "no file"),
    ],
)
def test_missing_dataset_does_not_hide_why_generated_data_fail(monkeypatch, error, reason):
    def raise_error(cfg):
        raise error if "num_samples" in cfg.data else DataError("no file.")

    monkeypatch.setattr(training_step, "validate_config", raise_error)
    monkeypatch.setattr(training_step, "limit_batch_size", lambda name: ["~data.num_samples"])
    with pytest.raises(StepUnavailableError) as unavailable:
        TrainingStep("tiny_images")

    assert str(unavailable.value) == reason


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("plain_tabular", ["data.batch_size=8"]),
        ("plain_gan", []),  # its batch size is 8
        ("plain_transformer", []),  # its batch size has another name
    ],
)
def test_batch_of_the_dataset_in_the_config_is_small(model, overrides):
    assert training_step.limit_batch_size(model) == overrides


@pytest.mark.slow
def test_step_of_any_module_has_a_small_batch():
    (batch,) = TrainingStep("plain_tabular").batches

    assert len(batch[0]) == 8


def test_missing_value_is_named():
    with pytest.raises(MissingMandatoryValue) as error:
        OmegaConf.to_container(OmegaConf.create({"model": {"name": "???"}}), throw_on_missing=True)

    assert describe_reason(error.value, "x") == "it requires a value for model.name"


def test_nothing_is_downloaded_during_the_check(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    before = socket.getaddrinfo
    with forbid_network(), pytest.raises(OSError, match="no downloads"):
        socket.create_connection(("localhost", 1))

    assert socket.getaddrinfo is before
