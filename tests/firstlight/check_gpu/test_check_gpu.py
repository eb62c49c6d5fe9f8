"""The GPU check: comparisons, skipped models and reasons, and machines without an accelerator."""

import io
import json

import pytest
import torch

from firstlight.check_gpu import __main__ as check_gpu
from firstlight.check_gpu import format_results, operator_check, run_checks
from firstlight.check_gpu.model_check import check_model
from firstlight.check_gpu.operator_check import OperatorCase
from firstlight.check_gpu.operators import OPERATORS
from firstlight.check_gpu.results import CheckResult
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError, HardwareError

requires_no_gpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")


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


def test_results_are_printed_and_recorded(monkeypatch, capsys, tmp_path):
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
    with pytest.raises(HardwareError, match="^Chip computes other results than the CPU: bmm differs. Update.$"):
        check_gpu.main(compose_config("check_gpu", [f"records_file={tmp_path}/records.jsonl"]))

    assert json.loads((tmp_path / "records.jsonl").read_text()) == machine
    assert capsys.readouterr().out.splitlines() == [
        "Chip (mps), macOS 15, torch 2",
        "different   bmm differs. Update.",
        "skipped     model=net is skipped: it requires a value.",
        "3 checks: 1 different, 1 equal, 1 skipped",
    ]


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
