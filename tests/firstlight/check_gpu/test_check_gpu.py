"""The GPU check: what it compares, what it skips and why, and the machines without an accelerator."""

import io
import json
import socket

import pytest
import torch
from omegaconf import MissingMandatoryValue, OmegaConf

from firstlight.check_gpu import __main__ as check_gpu
from firstlight.check_gpu import format_results, model_check, operator_check, run_checks, training_step
from firstlight.check_gpu.model_check import LOSS_LIMIT, check_model, compare_steps, find_limits
from firstlight.check_gpu.operator_check import OperatorCase
from firstlight.check_gpu.operators import OPERATORS
from firstlight.check_gpu.results import CheckResult
from firstlight.check_gpu.training_step import StepUnavailableError, TrainingStep, describe_reason, forbid_network
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError, DataError, HardwareError

requires_no_gpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")


def make_step(*factors):
    """Return the values of a step, with a factor for the loss, for a large gradient and for one of rounding errors."""
    loss, large, tiny = factors
    values = {"loss": 2.0 * loss, "gradient of weight": 0.5 * large, "gradient of bias": 1e-9 * tiny}
    return {name: torch.tensor([value]) for name, value in values.items()}


@requires_no_gpu
def test_machine_without_accelerator_is_one_line():
    with pytest.raises(HardwareError) as error:
        check_gpu.main(compose_config("check_gpu", []))

    problem, _, fix = str(error.value).partition(". ")
    assert problem == "The GPU check requires an NVIDIA GPU or Apple silicon, but torch finds only the CPU"
    assert fix == "Run `make doctor` without gpu=true to see why."


def test_cpu_is_never_compared_with_itself():
    with pytest.raises(ValueError, match="must be an accelerator, got cpu"):
        operator_check.check_operator(OPERATORS[0], torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match="must not be cpu"):
        check_model("tiny_mlp", "cpu")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["models=[tiny_mpl]"], "Unknown option model=tiny_mpl. Did you mean model=tiny_mlp?"),
        (
            ["models=tiny_mlp"],
            "Invalid value for models: expected a non-empty list of models, or null, got 'tiny_mlp'.",
        ),
        (["models=5"], "Invalid value for models: expected a non-empty list of models, or null, got 5."),
        (["models=[5]"], "Invalid value for models: expected a non-empty list of models, or null, got [5]."),
        (["models=[]"], "Invalid value for models: expected a non-empty list of models, or null"),
        (["json=1"], "Invalid value for json: expected true or false, got 1."),
    ],
)
def test_invalid_settings_are_rejected(overrides, message):
    with pytest.raises(ConfigError) as error:
        check_gpu.main(compose_config("check_gpu", overrides))

    assert str(error.value).startswith(message)


def test_operators_have_different_names_and_limits():
    names = [case.name for case in OPERATORS]

    assert len(names) == len(set(names)) == 51
    assert {dtype for case in OPERATORS for dtype in case.dtypes} == set(operator_check.TOLERANCES)
    assert all(case.workaround for case in OPERATORS if case.mps_issue)


def test_reference_is_computed_in_float64_from_rounded_inputs():
    (case,) = [case for case in OPERATORS if case.name == "sum of 100,003 elements"]
    values = torch.randn(case.shapes["input"], generator=torch.Generator().manual_seed(0))
    expected = values.to(torch.bfloat16).double().sum(-1)

    assert torch.equal(expected, operator_check.compute(case, torch.bfloat16, torch.device("cpu"))["output"])


def test_random_values_follow_each_input_in_memory():
    behind = []

    def read_behind(left, right):
        behind.extend(tensor.detach().as_strided((512,), (1,), tensor.numel()) for tensor in (left, right))
        return left @ right

    shapes = {"left": (3, 5), "right": (5, 2)}
    operator_check.compute(OperatorCase("product", read_behind, shapes), torch.float32, torch.device("cpu"))

    assert [round(float(values.std())) for values in behind] == [1, 1]


def test_steps_are_compared_by_loss_and_gradients():
    limits = dict.fromkeys(make_step(1, 1, 1), 0.01)
    differences = compare_steps(make_step(1, 1, 1), make_step(1.02, 1.005, 5), limits)

    assert [difference.quantity for difference in differences if difference.ratio > 1] == ["loss"]
    assert {difference.quantity: pytest.approx(difference.value, rel=1e-4) for difference in differences} == {
        "loss": 0.02,
        "gradient of weight": 0.005,
        # Rounding errors are related to the largest gradient.
        "gradient of bias": 4e-9 / (0.5 * model_check.MIN_SCALE),
    }


def test_missing_gradient_differs():
    found = make_step(1, 1, 1)
    del found["gradient of weight"]
    worst = compare_steps(make_step(1, 1, 1), found, dict.fromkeys(make_step(1, 1, 1), 0.01))[0]

    assert (worst.quantity, worst.value) == ("gradient of weight", torch.inf)


class FixedStep:
    """A step with the values of a float32 run and of another run on the CPU."""

    def __init__(self, reference, other):
        self.reference, self.other = reference, other

    def run(self, accelerator, precision, seed=0):
        assert (accelerator, precision, seed) == ("cpu", "64-true", 1)
        return self.other


def test_limits_grow_with_the_rounding_errors_of_a_model():
    limits = find_limits(FixedStep(make_step(1, 1, 1), make_step(1.01, 1, 1)))

    assert limits["loss"] == pytest.approx(LOSS_LIMIT + 3 * 0.01, rel=1e-4)
    assert limits["gradient of weight"] == 0.02


@pytest.mark.parametrize(
    ("reference", "other", "reason"),
    [
        (make_step(1, 1, 1), make_step(1, 1.5, 1), "its gradient of weight depends on random numbers"),
        ({}, {}, "returns no loss and no gradients"),
        (make_step(torch.nan, 1, 1), make_step(1, 1, 1), "or values that are not finite"),
    ],
)
def test_model_that_cannot_be_compared_is_skipped(reference, other, reason):
    with pytest.raises(StepUnavailableError, match=reason):
        find_limits(FixedStep(reference, other))


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


class FixedAccelerator(FixedStep):
    """A step whose values on the accelerator differ from the CPU."""

    def run(self, accelerator, precision, seed=0):
        return self.reference if accelerator == "cpu" else self.other


def test_difference_of_a_model_names_the_number_of_others_and_the_fix(monkeypatch):
    step = FixedAccelerator(make_step(1, 1, 1), make_step(1.5, 2, 1))
    monkeypatch.setattr(model_check, "TrainingStep", lambda name: step)
    result = check_model("net", "mps")

    assert result.message == (
        "model=net: loss differs by 50 % from the CPU (limit 0.1 %); 2 of 3 compared values differ"
    )
    assert result.fix == (
        "Train it with trainer=cpu. If no operator of it differs, report it to PyTorch, with the output of "
        "`make doctor gpu=true ARGS=--json`."
    )


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


def test_results_are_printed_as_text_and_json(monkeypatch, capsys):
    results = [
        CheckResult(
            "operator", "bmm", "float32", "different", "output", 0.5, 0.001, "pytorch#1", "bmm differs", "Update."
        ),
        CheckResult("model", "net", "float32", "skipped", message="model=net is skipped: it requires a value"),
        CheckResult("operator", "sum", "float32", "equal", "output", 1e-7, 0.001),
    ]
    machine = {
        "device": {"name": "Chip", "accelerator": "mps"},
        "system": {"os": "macOS 15"},
        "versions": {"torch": "2"},
    }
    checks = [vars(result) for result in results]
    record = machine | {"checks": checks, "counts": format_results.count_statuses(checks)}

    def run(models, progress, report):
        report(machine)
        return record

    monkeypatch.setattr(run_checks, "run_all_checks", run)
    for is_json in (False, True):
        with pytest.raises(HardwareError, match="^Chip computes other results than the CPU: bmm differs. Update.$"):
            check_gpu.main(compose_config("check_gpu", [f"json={is_json}"]))
        output = capsys.readouterr().out
        assert (
            json.loads(output) == machine
            if is_json
            else output.splitlines()
            == [
                "Chip (mps), macOS 15, torch 2",
                "different   bmm differs. Update.",
                "skipped     model=net is skipped: it requires a value.",
                "3 checks: 1 different, 1 equal, 1 skipped",
            ]
        )


@requires_no_gpu
def test_each_result_is_reported_after_its_name(monkeypatch):
    check = CheckResult("operator", "sum", "float32", "equal")
    monkeypatch.setattr(run_checks, "find_best_accelerator", lambda: "mps")
    monkeypatch.setattr(run_checks, "describe_machine", lambda device: {"device": {"name": "Chip"}})
    monkeypatch.setattr(run_checks, "iter_checks", lambda models, device: iter([("sum", lambda: check)]))
    entries, progress = [], io.StringIO()
    results = run_checks.run_all_checks(None, progress, entries.append)

    assert [next(iter(entry)) for entry in entries] == ["device", "running", "kind", "seconds"]
    assert (entries[1], entries[2]) == ({"running": "sum"}, vars(check))
    assert (results["checks"], results["counts"]) == ([vars(check)], {"equal": 1})
    assert progress.getvalue() == "sum ... equal\n"


@requires_no_gpu
def test_full_precision_is_restored():
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    with run_checks.use_full_precision():
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (False, "highest")

    assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
    torch.set_float32_matmul_precision("highest")


def test_list_of_failures():
    statuses = ("equal", "different", "failed", "skipped", "unsupported")
    checks = [{"status": status} for status in statuses]

    assert [check["status"] for check in format_results.list_failures({"checks": checks})] == ["different", "failed"]
