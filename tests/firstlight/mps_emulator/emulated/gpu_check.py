"""`make doctor gpu=true` on the emulated device: it finds each wrong kernel, and reports none without one."""

import io
import math

import pytest
import torch

from firstlight.check_gpu import __main__ as check_gpu
from firstlight.check_gpu.model_check import check_model
from firstlight.check_gpu.operator_check import check_operator
from firstlight.check_gpu.operators import OPERATORS
from firstlight.check_gpu.run_checks import run_all_checks
from firstlight.config.compose import compose_config
from firstlight.run.errors import HardwareError
from support import wrong_kernels as wrong

MPS = torch.device("mps")
LONG_BMM = ["bmm, inner dimension 32,767", "bmm, inner dimension 32,769"]
STRIDED = ["convolution, strided and grouped", "convolution, depthwise, strided"]
# By the name of the operator: the wrong kernel, the first words of the checks that run, and the checks that find it,
# with the quantity that differs most, and the known issue.
WRONG_KERNELS = {
    "native_batch_norm_backward": (
        wrong.scale_output(1, 0.8, wrong.is_not_contiguous),
        "batch norm",
        ["batch norm, channels_last", "batch norm, input not contiguous"],
        "gradient of weight",
        "pytorch#175189",
    ),
    "sum.dim_IntList": (wrong.drop_last_elements, "sum of", ["sum of 100,003 elements"], "output", ""),
    "bmm": (wrong.add_one_term, "bmm", LONG_BMM, "output", "pytorch#195163"),
    "_adaptive_avg_pool2d_backward": (
        lambda outputs, args: outputs.flip(-1),
        "adaptive average",
        ["adaptive average pooling, to 3 x 3"],
        "gradient of input",
        "",
    ),
    "convolution_backward": (wrong.flip_weight_gradient, "convolution", STRIDED, "gradient of weight", ""),
    "_softmax_backward_data": (
        wrong.ignore_sum,
        "softmax over rows",
        ["softmax over rows"],
        "gradient of input",
        "",
    ),
    "native_layer_norm_backward": (
        wrong.scale_output(0, 1.1),
        "layer norm",
        ["layer norm", "layer norm, slice of a tensor", "layer norm, small variance"],
        "gradient of input",
        "",
    ),
    "embedding_dense_backward": (
        wrong.count_once,
        "embedding",
        ["embedding, repeated tokens"],
        "gradient of weight",
        "",
    ),
    "convolution": (
        wrong.ignore_last_row,
        "convolution, depthwise",
        ["convolution, depthwise, kernel of the full height"],
        "output",
        "pytorch#188335",
    ),
    "native_layer_norm": (
        wrong.clamp_small_variance,
        "layer norm",
        ["layer norm, small variance"],
        "output",
        "pytorch#186367",
    ),
    "index_copy": (
        wrong.write_as_contiguous,
        "index_copy",
        ["index_copy, not contiguous"],
        "output",
        "pytorch#160993",
    ),
    "scatter_.src": (
        wrong.write_as_contiguous,
        "scatter",
        ["scatter into a permuted tensor"],
        "output",
        "pytorch#115152",
    ),
    "tanh_backward": (
        wrong.read_as_contiguous,
        "tanh",
        ["tanh, input not contiguous"],
        "gradient of input",
        "pytorch#175188",
    ),
}


def zero_norm_weights(norm):
    """Initialize the last norm of a residual block, so that the block is the identity function at first."""
    norm.reset_running_stats()
    torch.nn.init.zeros_(norm.weight)
    torch.nn.init.zeros_(norm.bias)


def check_operators(first_words):
    """Return the results in float32 of the operators whose names start with these words."""
    cases = [case for case in OPERATORS if case.name.startswith(first_words)]
    return [check_operator(case, torch.float32, MPS) for case in cases]


@pytest.mark.parametrize("name", WRONG_KERNELS)
def test_wrong_kernel_is_found_and_named(name):
    corrupt, first_words, expected, quantity, issue = WRONG_KERNELS[name]
    assert {result.status for result in check_operators(first_words)} <= {"equal", "unsupported"}
    with wrong.replace_kernel(name, corrupt):
        results = [result for result in check_operators(first_words) if result.status == "different"]

    assert expected == [result.name for result in results]
    assert {quantity} == {result.quantity for result in results}
    assert all(result.difference > result.limit == 0.001 for result in results)
    assert issue in {result.issue for result in results}
    assert all(f"(float32): {quantity} differs by" in result.message for result in results)


@pytest.mark.parametrize(
    ("name", "first_words", "function"),
    [
        ("mean.dim", "mean of", lambda values: values.mean(-1)),
        ("var.correction", "variance of", lambda values: values.var(-1)),
        ("linalg_vector_norm", "norm of", torch.linalg.vector_norm),
    ],
)
def test_long_reduction_without_its_last_tile_is_found(name, first_words, function):
    (case,) = [case for case in OPERATORS if case.name.startswith(first_words)]
    assert [check_operator(case, dtype, MPS).status for dtype in case.dtypes] == ["equal", "equal"]
    with wrong.replace_kernel(name, wrong.drop_last_tile(function)):
        results = [check_operator(case, dtype, MPS) for dtype in case.dtypes]

    assert [result.status for result in results] == ["different", "different"]
    assert all(result.difference > 1.5 * result.limit for result in results)


def test_wrong_kernel_that_returns_nan_is_found():
    with wrong.replace_kernel("gelu_backward", lambda outputs, args: outputs * math.nan):
        (result,) = check_operators("gelu")

    assert (result.status, result.difference) == ("different", None)
    assert (
        result.message
        == "gelu, input not contiguous (float32): gradient of input is missing or not finite, unlike on the CPU"
    )


def test_kernel_that_raises_has_failed_unless_it_is_unsupported():
    def raise_error(outputs, args):
        raise RuntimeError("view size is not compatible")

    def raise_unsupported(outputs, args):
        raise NotImplementedError("aten::gelu is not currently implemented. Wait.")

    found = {}
    for corrupt in (raise_error, raise_unsupported):
        with wrong.replace_kernel("gelu", corrupt):
            (result,) = check_operators("gelu")
        found[result.status] = result.message

    subject = "gelu, input not contiguous (float32)"
    reason = "NotImplementedError: aten::gelu is not currently implemented"
    assert found == {
        "failed": f"{subject} fails (RuntimeError: view size is not compatible)",
        "unsupported": f"{subject} is not supported ({reason})",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name", "corrupt", "parameter"),
    [
        ("tiny_images", "native_batch_norm_backward", wrong.scale_output(1, 0.8), "block2.1.weight"),
        ("tiny_text", "embedding_dense_backward", wrong.count_once, "embedding.words.weight"),
    ],
)
def test_model_with_wrong_kernel_is_found_and_the_parameter_is_named(model, name, corrupt, parameter):
    assert check_model(model, "mps").status == "equal"
    with wrong.replace_kernel(name, corrupt):
        result = check_model(model, "mps")

    assert result.status == "different"
    assert result.quantity == f"gradient of network.{parameter}"
    assert result.message.startswith(f"model={model}: gradient of network.{parameter} differs by ")


@pytest.mark.slow
def test_wrong_kernel_is_found_behind_a_norm_whose_weights_are_zero(monkeypatch):
    monkeypatch.setattr(torch.nn.BatchNorm2d, "reset_parameters", zero_norm_weights)
    assert check_model("tiny_images", "mps").status == "equal"
    with wrong.replace_kernel("convolution_backward", wrong.flip_input_gradient):
        result = check_model("tiny_images", "mps")

    assert (result.status, result.quantity) == ("different", "gradient of network.block1.1.bias")


@pytest.mark.slow
def test_nothing_is_reported_without_wrong_kernels():
    progress = io.StringIO()
    models = ["tiny_images", "tiny_text", "tiny_mlp", "plain_segmentation", "plain_gan", "plain_detector"]
    results = run_all_checks(models, progress)
    checks = {(check["name"], check["dtype"]): check for check in results["checks"]}

    assert [name for name, check in checks.items() if check["status"] in ("different", "failed")] == []
    assert [checks[name, "float32"]["status"] for name in models] == [*["equal"] * 4, "skipped", "unsupported"]
    assert "depends on random numbers" in checks["plain_gan", "float32"]["message"]
    assert "Adaptive pool MPS" in checks["plain_detector", "float32"]["message"]
    assert {check["status"] for check in checks.values() if check["kind"] == "operator"} == {"equal", "unsupported"}
    assert len(checks) == sum(len(case.dtypes) for case in OPERATORS) + len(models)
    assert len(checks) == len(progress.getvalue().splitlines())
    assert (results["device"]["accelerator"], results["limits"]["bfloat16"]) == ("mps", 0.03)


@pytest.mark.slow
def test_command_fails_and_names_the_wrong_kernel(capsys):
    with wrong.replace_kernel("bmm", wrong.add_one_term), pytest.raises(HardwareError) as error:
        check_gpu.main(compose_config("check_gpu", ["models=[tiny_mlp]"]))

    assert "computes other results than the CPU (first of 2): bmm, inner dimension 32,767 (float32)" in str(error.value)
    assert "known as pytorch#195163. Keep samples x tokens, and features, at 32,766 or less." in str(error.value)
    assert capsys.readouterr().out.splitlines()[-1].startswith("97 checks: ")
