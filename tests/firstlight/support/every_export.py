"""What holds for the export of every model.

A test file imports these tests, and has a fixture `trained`, which returns what `support.exports.train_for_export` does.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from support.exports import METADATA_FILES, load_without_firstlight, run_export


@pytest.mark.slow
@pytest.mark.parametrize("format", METADATA_FILES)
def test_a_stranger_gets_the_same_logits_by_the_lines_of_the_description(trained, tmp_path, format):
    run_export(trained[0], tmp_path, f"format={format}")
    found = load_without_firstlight(tmp_path, METADATA_FILES[format], trained[1])

    # float32, in other programs added up in another order.
    torch.testing.assert_close(found, trained[2], atol=1e-4, rtol=1e-4)


def test_the_description_tells_classes_and_inputs(trained, tmp_path):
    paths = run_export(trained[0], tmp_path)
    told = json.loads((tmp_path / "model.pt2.json").read_text())

    assert {Path(path) for path in paths} == set(tmp_path.iterdir())
    assert told["class_names"] == ["class 0", "class 1"]
    assert list(told["inputs"]) == list(trained[1])
    assert all(each["shape"][0] == "batch" for each in told["inputs"].values())
    assert {"mean", "std", "image_size"} <= set(told["preprocessing"]) or "tokenizer.json" in os.listdir(tmp_path)


@pytest.mark.slow
def test_core_ml_gets_a_package(trained, tmp_path):
    coremltools = pytest.importorskip("coremltools", reason="coremltools is not installed: pip install coremltools")
    run_export(trained[0], tmp_path, "format=coreml")
    told = json.loads((tmp_path / "model.mlpackage.json").read_text())
    # Its description alone: what runs the model is a part of macOS.
    spec = coremltools.utils.load_spec(str(tmp_path / "model.mlpackage"))

    assert [each.name for each in spec.description.input] == list(told["inputs"])
    assert [each.name for each in spec.description.output] == ["logits"]
