"""A model that is exported says the same in other programs."""

import re
from pathlib import Path

import pytest
import torch

from firstlight.config.compose import compose_config as composed_from
from firstlight.data.fake_images import FakeImageDataModule
from firstlight.export import __main__ as export
from firstlight.export import atomic_dir as folders
from firstlight.export import onnx, safetensors, torch_export
from firstlight.export.source import ExportSource, InputSpec, describe_dataset_inputs
from support import exports as exported_models
from support.every_export import *  # noqa: F403
from support.options import list_options
from support.tiny_models import TinyMLP
from support.tiny_training import CLASSES


@pytest.fixture(scope="module", params=list_options("model"))
def trained(request, tmp_path_factory):
    """Return the folder of a run, and inputs by name with the logits that its model gives for them."""
    return exported_models.train_for_export(request.param, tmp_path_factory.mktemp(request.param) / "run")


def test_neither_the_device_nor_the_place_of_a_training_matters(trained, tmp_path, capsys):
    words = [f"ckpt={trained[0]}/checkpoints/last.ckpt", "trainer.accelerator=cuda", "trainer.devices=8"]
    export.main(composed_from("export", [*words, "trainer.strategy=ddp", "format=safetensors"]))

    assert (trained[0] / "export" / "model.safetensors").is_file()
    assert re.search("[KM]iB", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["format=tflite"], "format is one of torch, onnx, safetensors, coreml, but format=tflite: choose one"),
        (["output=/proc/here"], "The folder /proc/here cannot be written to .*: give output=<a folder of yours>"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(trained, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        export.main(composed_from("export", [f"run={trained[0]}", *words]))


def test_a_missing_package_is_told_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(export.FORMATS, "coreml", ("coreml_package", ("no_such_package",), "coreml"))

    with pytest.raises(ValueError, match=r"needs the package no_such_package, which is not installed: .*'.\[coreml\]'"):
        export.validate_format("coreml")


def test_export_needs_a_run():
    with pytest.raises(ValueError, match="export needs a trained model: give run=logs/train/<run> or ckpt=<file>"):
        composed_from("export", [])


class Lottery(TinyMLP):
    """A model that never says the same twice."""

    def forward(self, inputs):
        return self.network(inputs) + torch.rand(inputs.shape[0], 2)


class Choosy(TinyMLP):
    """A model whose way depends on the numbers it reads."""

    def forward(self, inputs):
        return self.network(inputs if inputs.sum() > 0 else -inputs)


def source(model) -> ExportSource:
    inputs = InputSpec(lambda count, length: torch.randn(count, 3, 2, 2), {"images": "of a test"}, {})
    return ExportSource(model.eval(), inputs, "last.ckpt", {"model": {"_target_": "support.tiny_models.TinyMLP"}})


@pytest.mark.parametrize("module", [torch_export, onnx, safetensors])
def test_a_model_of_ones_own_is_exported_as_it_is(module, tmp_path):
    checked = module.write(source(TinyMLP(CLASSES, 2)), tmp_path)

    assert "largest deviation" in checked or "equal to the last bit" in checked
    assert any(path.suffix == ".json" for path in tmp_path.iterdir())


@pytest.mark.parametrize("module", [torch_export, onnx])
def test_an_export_that_differs_is_an_error_and_leaves_no_file(module, tmp_path):
    with (
        pytest.raises(ValueError, match="not the model: .* its logits are off by"),
        folders.atomic_output_dir(tmp_path) as inside,
    ):
        module.write(source(Lottery(CLASSES, 2)), inside)
    assert not tmp_path.exists()


class Counting(TinyMLP):
    """A model that makes a number of the size of a batch."""

    def forward(self, inputs):
        return self.network(inputs.view(len(inputs), -1))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Choosy, "torch.export cannot follow the forward of Choosy"),
        (
            Counting,
            r"Counting can be exported for one size of batch alone.*: write inputs.shape\[0\] in the place of len",
        ),
    ],
)
def test_a_model_that_cannot_be_followed_is_told(tmp_path, kind, sentence):
    with pytest.raises(ValueError, match=sentence):
        torch_export.export_model(source(kind(CLASSES, 2)), tmp_path)


def test_a_failed_export_leaves_the_earlier_one(tmp_path):
    (tmp_path / "model.pt2").write_text("earlier")

    def fail(inside: Path):
        (inside / "model.pt2").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError), folders.atomic_output_dir(tmp_path) as inside:
        fail(inside)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


def test_inputs_of_any_data_set_are_read_from_it():
    data = FakeImageDataModule(num_classes=2, num_samples=8, image_size=2, batch_size=2)
    drawn = describe_dataset_inputs(TinyMLP(CLASSES, 2), data).sample(5, 0)

    assert drawn.shape == (5, 3, 2, 2)
    assert drawn.dtype == torch.float32
