"""The rules read the list of operators that ships with torch."""

from pathlib import Path

import pytest
import torch
import torchgen
import yaml

from firstlight.mps.rules import check_operator, get_mps_operator_support, is_nondeterministic


@pytest.mark.slow
def test_reading_by_lines_finds_what_a_yaml_parser_finds():
    text = (Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml").read_text()
    entries = {each["func"].partition("(")[0]: each for each in yaml.load(text, Loader=yaml.CSafeLoader)}

    def runs(entry):
        keys = [key.strip() for group in entry.get("dispatch") or {} for key in group.split(",")]
        parent = entry.get("structured_delegate")
        own = any(key == "MPS" or key.startswith("Composite") for key in keys)
        return own or (runs(entries[parent]) if parent else not keys)

    assert {name: runs(entry) for name, entry in entries.items()} == get_mps_operator_support()


@pytest.mark.parametrize(
    ("name", "runs"),
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
def test_an_operator_runs_with_a_kernel_or_made_of_others(name, runs):
    assert runs == (not check_operator(name, (), []))


@pytest.mark.parametrize(
    ("sizes", "wanted", "fits"),
    [
        *[((14, 14), (7, 7), True), ((7, 7), (7, 7), True), ((1, 1), (7, 7), True)],
        *[((10, 10), (7, 7), False), ((2, 2), (7, 7), False), ((14, 3), (7, 7), False), ((14, 1), (7, 7), False)],
    ],
)
def test_adaptive_pooling_divides(sizes, wanted, fits):
    images = torch.empty(1, 1, *sizes)

    assert fits == (not check_operator("aten::_adaptive_avg_pool2d", (images, wanted), []))
    assert fits == (not check_operator("aten::adaptive_max_pool2d", (images, wanted), []))


def test_only_an_accumulating_index_varies():
    assert is_nondeterministic("aten::index_put_", (torch.ones(2), None, None, True))
    assert not is_nondeterministic("aten::index_put_", (torch.ones(2), None, None))
    assert not is_nondeterministic("aten::index_put_", (torch.ones(2).long(), None, None, True))
    assert is_nondeterministic("aten::upsample_bilinear2d_backward", ())
    assert not is_nondeterministic("aten::max_pool2d", ())
