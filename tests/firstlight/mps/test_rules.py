"""Tests of the rules that decide whether MPS supports an operator."""

from pathlib import Path

import pytest
import torch
import torchgen
import yaml

from firstlight.mps.rules import check_operator, get_mps_operator_support, is_nondeterministic


@pytest.mark.slow
def test_operator_support_matches_yaml_parser():
    text = (Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml").read_text()
    entries = {entry["func"].partition("(")[0]: entry for entry in yaml.load(text, Loader=yaml.CSafeLoader)}

    def is_supported(entry):
        keys = [key.strip() for group in entry.get("dispatch") or {} for key in group.split(",")]
        delegate = entry.get("structured_delegate")
        has_kernel = any(key == "MPS" or key.startswith("Composite") for key in keys)
        return has_kernel or (is_supported(entries[delegate]) if delegate else not keys)

    assert {name: is_supported(entry) for name, entry in entries.items()} == get_mps_operator_support()


@pytest.mark.parametrize(
    ("name", "is_supported"),
    [
        ("aten::native_layer_norm", True),
        ("aten::add.Tensor", True),
        ("aten::matmul", True),
        ("aten::linalg_eig", False),
        ("aten::fractional_max_pool2d", False),
        ("aten::embedding_renorm_", True),
        ("torchvision::nms", True),
        ("torchvision::_roi_align_backward", True),
        ("profiler::_record_function_enter_new", True),
    ],
)
def test_operator_needs_kernel_or_composition(name, is_supported):
    assert is_supported == (not check_operator(name, (), []))


@pytest.mark.parametrize(
    ("input_size", "output_size", "is_supported"),
    [
        *[((14, 14), (7, 7), True), ((7, 7), (7, 7), True), ((1, 1), (7, 7), True)],
        *[((10, 10), (7, 7), False), ((2, 2), (7, 7), False), ((14, 3), (7, 7), False), ((14, 1), (7, 7), False)],
    ],
)
def test_adaptive_pooling_sizes_must_divide(input_size, output_size, is_supported):
    images = torch.empty(1, 1, *input_size)

    assert is_supported == (not check_operator("aten::_adaptive_avg_pool2d", (images, output_size), []))
    assert is_supported == (not check_operator("aten::adaptive_max_pool2d", (images, output_size), []))


def test_only_accumulating_index_put_is_nondeterministic():
    assert is_nondeterministic("aten::index_put_", (torch.ones(2), None, None, True))
    assert not is_nondeterministic("aten::index_put_", (torch.ones(2), None, None))
    assert not is_nondeterministic("aten::index_put_", (torch.ones(2).long(), None, None, True))
    assert is_nondeterministic("aten::upsample_bilinear2d_backward", ())
    assert not is_nondeterministic("aten::max_pool2d", ())
