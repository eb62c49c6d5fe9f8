"""Tests of the export of one model.

A test file imports these tests and defines a fixture `trained_run`, which returns the result of
`support.exports.train_for_export`.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from support.exports import METADATA_FILES, load_without_firstlight, run_export


@pytest.mark.slow
@pytest.mark.parametrize("format", METADATA_FILES)
def test_loading_code_reproduces_logits(trained_run, tmp_path, format):
    run_export(trained_run[0], tmp_path, f"format={format}")
    logits = load_without_firstlight(tmp_path, METADATA_FILES[format], trained_run[1])

    # Other programs add float32 numbers in another order.
    torch.testing.assert_close(logits, trained_run[2], atol=1e-4, rtol=1e-4)


def test_metadata_lists_classes_and_inputs(trained_run, tmp_path):
    paths = run_export(trained_run[0], tmp_path)
    metadata = json.loads((tmp_path / "model.pt2.json").read_text())

    assert {Path(path) for path in paths} == set(tmp_path.iterdir())
    assert metadata["class_names"] == ["class 0", "class 1"]
    assert list(metadata["inputs"]) == list(trained_run[1])
    assert all(spec["shape"][0] == "batch" for spec in metadata["inputs"].values())
    assert {"mean", "std", "image_size"} <= set(metadata["preprocessing"]) or "tokenizer.json" in os.listdir(tmp_path)


@pytest.mark.slow
def test_coreml_package_has_inputs_and_logits(trained_run, tmp_path):
    coremltools = pytest.importorskip("coremltools", reason="coremltools is not installed: pip install coremltools")
    run_export(trained_run[0], tmp_path, "format=coreml")
    metadata = json.loads((tmp_path / "model.mlpackage.json").read_text())
    # Only the specification is checked, because the runtime is part of macOS.
    spec = coremltools.utils.load_spec(str(tmp_path / "model.mlpackage"))

    assert [feature.name for feature in spec.description.input] == list(metadata["inputs"])
    assert [feature.name for feature in spec.description.output] == ["logits"]
