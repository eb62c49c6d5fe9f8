"""Tests of `make export`: exported models return the same logits in other programs, and errors write nothing."""

import re
import zipfile
from pathlib import Path

import pytest
import torch

from firstlight.config.compose import compose_config
from firstlight.data.fake_images import FakeImageDataModule
from firstlight.export import __main__ as export
from firstlight.export import onnx, safetensors, torch_export
from firstlight.export.atomic_dir import atomic_output_dir
from firstlight.export.source import ExportSource, InputSpec, describe_batch_inputs
from firstlight.run.errors import ConfigError, MissingPackageError, UserError
from support.checkout import ROOT
from support.every_export import *  # noqa: F403
from support.exports import train_for_export
from support.options import list_options
from support.tiny_models import TinyMLP
from support.tiny_training import CLASSES


@pytest.fixture(scope="module", params=list_options("model"))
def trained_run(request, tmp_path_factory):
    """A run directory, inputs by name, and the logits of its model for these inputs."""
    return train_for_export(request.param, tmp_path_factory.mktemp(request.param) / "run")


def test_export_ignores_training_device_and_strategy(trained_run, tmp_path, capsys):
    overrides = [f"ckpt={trained_run[0]}/checkpoints/last.ckpt", "trainer.accelerator=cuda", "trainer.devices=8"]
    export.main(compose_config("export", [*overrides, "trainer.strategy=ddp", "format=safetensors"]))

    assert (trained_run[0] / "export" / "model.safetensors").is_file()
    assert re.search("[KM]iB", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["format=tflite"], "Unknown format 'tflite'. Available: torch, onnx, safetensors, hub, coreml."),
        (["output=/proc/here"], "Cannot write to /proc/here: .*. Choose another location with output=<directory>."),
    ],
)
def test_invalid_arguments_raise_config_error(trained_run, overrides, message):
    with pytest.raises(ConfigError, match=message):
        export.main(compose_config("export", [f"run={trained_run[0]}", *overrides]))


def test_missing_package_error_contains_install_command(monkeypatch):
    monkeypatch.setitem(export.FORMATS, "coreml", ("coreml", ("no_such_package",), "coreml", "x.json"))
    message = r"format=coreml requires the 'no_such_package' package, which is not installed. .*'.\[coreml\]'"

    monkeypatch.setattr(export, "HAS_COREMLTOOLS", True)
    with pytest.raises(MissingPackageError, match=message):
        export.validate_format("coreml")


def test_core_ml_error_names_the_python_versions_with_a_package(monkeypatch):
    monkeypatch.setitem(export.FORMATS, "coreml", ("coreml", ("no_such_package",), "coreml", "x.json"))
    monkeypatch.setattr(export, "HAS_COREMLTOOLS", False)

    with pytest.raises(MissingPackageError, match="no wheel for Python 3.14. Export with Python 3.11 to 3.13, or use"):
        export.validate_format("coreml")


def test_export_requires_run():
    with pytest.raises(UserError, match="Pass run=logs/train/<run> or ckpt=<file>"):
        compose_config("export", [])


class NondeterministicModel(TinyMLP):
    """A model that adds random numbers to its logits."""

    def forward(self, inputs):
        return self.network(inputs) + torch.rand(inputs.shape[0], 2)


class BranchingModel(TinyMLP):
    """A model that branches on tensor values."""

    def forward(self, inputs):
        return self.network(inputs if inputs.sum() > 0 else -inputs)


class FixedBatchSizeModel(TinyMLP):
    """A model that converts the batch size to a Python int."""

    def forward(self, inputs):
        return self.network(inputs.view(len(inputs), -1))


def make_source(model) -> ExportSource:
    inputs = InputSpec(lambda batch_size, length: torch.randn(batch_size, 3, 2, 2), {"images": "test images"}, {})
    return ExportSource(model.eval(), inputs, "last.ckpt", {"model": {"_target_": "support.tiny_models.TinyMLP"}})


@pytest.mark.parametrize("module", [torch_export, onnx, safetensors])
def test_custom_model_is_exported(module, tmp_path):
    verified = module.export_model(make_source(TinyMLP(CLASSES, 2)), tmp_path)

    assert "max deviation" in verified or "bitwise identical" in verified
    assert any(path.suffix == ".json" for path in tmp_path.iterdir())


@pytest.mark.parametrize("module", [torch_export, onnx])
def test_deviating_export_raises_and_writes_nothing(module, tmp_path):
    with (
        pytest.raises(ConfigError, match="The exported model differs from the original: maximum deviation"),
        atomic_output_dir(tmp_path) as temporary_dir,
    ):
        module.export_model(make_source(NondeterministicModel(CLASSES, 2)), temporary_dir)
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    ("model_class", "message"),
    [
        (BranchingModel, "torch.export cannot trace BranchingModel.forward"),
        (
            FixedBatchSizeModel,
            "FixedBatchSizeModel can only be exported with a fixed batch size .* "
            r"Use inputs.shape\[0\] instead of len\(inputs\)",
        ),
    ],
)
def test_untraceable_model_raises_config_error(tmp_path, model_class, message):
    with pytest.raises(ConfigError, match=message):
        torch_export.export_model(make_source(model_class(CLASSES, 2)), tmp_path)


def test_failed_export_preserves_earlier_export(tmp_path):
    (tmp_path / "model.pt2").write_text("earlier")

    def fail(temporary_dir: Path):
        (temporary_dir / "model.pt2").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError), atomic_output_dir(tmp_path) as temporary_dir:
        fail(temporary_dir)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


def test_inputs_of_custom_datamodule_are_sampled_from_test_batch():
    data = FakeImageDataModule(num_classes=2, num_samples=8, image_size=2, batch_size=2)
    inputs = describe_batch_inputs(TinyMLP(CLASSES, 2), data).sample(5, 0)

    assert inputs.shape == (5, 3, 2, 2)
    assert inputs.dtype == torch.float32


class BlockModel(TinyMLP):
    """A model with a part without gradients, which becomes a graph of its own."""

    def forward(self, inputs):
        with torch.no_grad():
            inputs = inputs * 2
        return self.network(inputs)


def test_program_has_neither_samples_nor_paths_of_this_machine(tmp_path):
    sample = torch.full((2, 3, 2, 2), 0.1234567)
    inputs = InputSpec(lambda batch_size, length: sample[:1].repeat(batch_size, 1, 1, 1), {"images": "pixels"}, {})
    config = {"model": {"_target_": "support.tiny_models.TinyMLP"}}
    torch_export.export_model(ExportSource(BlockModel(CLASSES, 2).eval(), inputs, "last.ckpt", config), tmp_path)
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())

    assert sample[0, 0, 0, 0].numpy().tobytes() not in content
    for text in (str(ROOT), str(Path.home()), str(Path(torch.__file__).parent), ".venv", "in forward"):
        assert text.encode() not in content
    (stored,), _ = torch.export.load(tmp_path / "model.pt2").example_inputs
    assert stored.shape == sample.shape
    assert not stored.any()
