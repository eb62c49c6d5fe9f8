"""Tests of format=hub: other programs load the directory and give the answers of predict."""

import csv
import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch

from firstlight import predict
from firstlight.config.compose import compose_config
from firstlight.export import hub
from firstlight.export.atomic_dir import delete_stale_files, validate_hub_dir
from firstlight.export.hub_programs import make_program
from firstlight.export.source import ExportSource, InputSpec
from firstlight.model.torchvision_classifier import TorchvisionClassifier
from firstlight.run.errors import ConfigError
from support.checkout import ROOT
from support.exports import run_export, train_for_export
from support.options import get_tiny_model
from support.tiny_models import TinyMLP
from support.tiny_training import CLASSES

# -I ignores PYTHONPATH and the working directory. No package of this project can be imported.
PACKAGES = [path.parent.name for path in (ROOT / "src").glob("*/__init__.py")]
BLOCKER = f"""
import os, sys
for name in {[*PACKAGES, "firstlight", "support"]}:
    sys.modules[name] = None
sys.path.insert(0, os.getcwd())
"""
LOAD_PROGRAM = """
from load import format_prediction, load_inputs, load_model
import torch
model = load_model()
for argument in sys.argv[1:]:
    with torch.no_grad():
        print(max(format_prediction(model(load_inputs(argument))).values()))
"""
TEXT_PROGRAM = """
from transformers import AutoModelForSequenceClassification, AutoTokenizer
import torch
model = AutoModelForSequenceClassification.from_pretrained(".").eval()
tokenizer = AutoTokenizer.from_pretrained(".")
for text in sys.argv[1:]:
    with torch.no_grad():
        logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits
    print(float(logits.softmax(-1).max()))
assert model.config.id2label == {0: "class 0", 1: "class 1"}, model.config.id2label
"""


def make_source(model, size=32):
    inputs = InputSpec(lambda batch_size, length: torch.randn(batch_size, 3, size, size), {"images": "pixels"}, {})
    return ExportSource(model.eval().requires_grad_(False), inputs, "last.ckpt", {"model": {"_target_": "x"}})


def run_isolated(directory, program, *arguments):
    """Run a program in a process that cannot import this package; return the lines of its output."""
    command = [sys.executable, "-I", "-c", BLOCKER + program, *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def read_code(path):
    """Return the first block of Python code of a README.md."""
    return path.read_text().partition("```python\n")[2].partition("\n```")[0]


def predict_file(run_dir, source, output):
    """Return the probabilities that `make predict` writes."""
    overrides = [f"run={run_dir}", "ckpt=last", f"input={source}", f"output={output}"]
    predict.main(compose_config("predict", overrides))
    with output.open() as file:
        return [float(row["probability"]) for row in csv.DictReader(file)]


def test_torchvision_network_is_loaded_by_its_library(tmp_path):
    source = make_source(TorchvisionClassifier(CLASSES, "shufflenet_v2_x0_5"))
    verified = hub.export_model(source, tmp_path)

    assert verified.startswith("max deviation")
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "load.py", "model.safetensors"}
    assert hub.find_library(source, tmp_path) == "torchvision"
    assert hub.read_metadata(tmp_path)["class_names"] == CLASSES


class ChangedNetwork(TorchvisionClassifier):
    """A network that torchvision cannot build from its name."""

    def __init__(self, class_names, name):
        super().__init__(class_names, name)
        self.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32**2, len(class_names)))


@pytest.mark.parametrize("make_model", [lambda: TinyMLP(CLASSES, 32), lambda: ChangedNetwork(CLASSES, "resnet18")])
def test_any_other_network_becomes_a_program(make_model, tmp_path, capsys):
    source = make_source(make_model())
    hub.export_model(source, tmp_path)
    images = torch.randn(3, 3, 32, 32)
    error = capsys.readouterr().err
    program = torch.export.load(tmp_path / "model.pt2").module()

    assert hub.find_library(source, tmp_path) == "torch"
    if isinstance(source.model, ChangedNetwork):
        assert error.startswith(
            "torchvision cannot build this network (Error(s) in loading state_dict for ResNet: Missing key"
        )
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "load.py", "model.pt2", "model.safetensors"}
    # The same operators on the same device; torch.export may order them in another way.
    torch.testing.assert_close(program(images), source.model(images), atol=1e-4, rtol=1e-4)


def test_full_disk_does_not_become_a_program(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(hub, "save_weights", fail)
    with pytest.raises(RuntimeError, match="the disk is full"):
        hub.export_model(make_source(TorchvisionClassifier(CLASSES, "shufflenet_v2_x0_5")), tmp_path)


@pytest.mark.slow
def test_timm_network_is_loaded_by_timm(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed: uv pip install -e '.[timm]'")
    from firstlight.data.fake_images import FakeImageDataModule
    from firstlight.export.source import describe_image_inputs
    from firstlight.model.timm_classifier import TimmClassifier

    model = TimmClassifier(CLASSES, "test_vit", network_kwargs={"img_size": 64}).eval().requires_grad_(False)
    data = FakeImageDataModule(num_classes=2, num_samples=8, image_size=64)
    data.set_normalization(model.input_mean, model.input_std)
    source = ExportSource(model, describe_image_inputs(data), "last.ckpt", {"model": {"_target_": "x"}})
    hub.export_model(source, tmp_path)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 3, 64, 64)

    assert (tmp_path / "preprocess.py").exists()
    assert loaded.pretrained_cfg["label_names"] == CLASSES
    torch.testing.assert_close(loaded(images), model(images), atol=1e-4, rtol=1e-4)


def test_program_states_the_unit_of_a_regression(tmp_path):
    from support.tiny_tasks import TinyImagesRegressor

    model = TinyImagesRegressor(image_size=8, target_name="price", target_mean=10.0, target_std=2.5)
    from firstlight.data.fake_images import FakeImageDataModule
    from firstlight.export.source import describe_image_inputs

    data = FakeImageDataModule(num_classes=2, num_samples=8, image_size=8)
    source = ExportSource(model, describe_image_inputs(data), "last.ckpt", {"model": {"_target_": "x"}})
    namespace = {"__name__": "load", "__file__": str(tmp_path / "load.py")}
    (tmp_path / "config.json").write_text(json.dumps({"target_name": "price"}))
    exec(make_program(source, "torch"), namespace)

    assert namespace["format_prediction"](torch.tensor([[2.0]])) == {"price": 15.0}


def test_config_has_no_path_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = make_source(TinyMLP(["/a/cat", "dog"], 32))
    checkpoint = str(tmp_path / "logs" / "run" / "checkpoints" / "best.ckpt")
    config = {"model": {"_target_": "x", "weights": str(tmp_path / "weights" / "file.pt")}}
    output_dir = tmp_path / "hub"
    output_dir.mkdir()
    hub.export_model(dataclasses.replace(source, checkpoint=checkpoint, config=config), output_dir)
    metadata = hub.read_metadata(output_dir)

    assert metadata["format"] == "hub"
    assert metadata["checkpoint"] == "run/checkpoints/best.ckpt"
    assert metadata["model"]["weights"] == "file.pt"
    assert metadata["class_names"] == ["/a/cat", "dog"]
    for name in ("config.json", "load.py"):
        assert str(tmp_path) not in (output_dir / name).read_text()


def test_directory_with_another_format_is_rejected(tmp_path):
    metadata = {"format": "onnx", "load": [], "preprocessing": {}, "checkpoint": "x"}
    (tmp_path / "model.onnx.json").write_text(json.dumps(metadata))
    with pytest.raises(ConfigError, match="contains model.onnx.json of another format, which `hf upload` would"):
        validate_hub_dir(tmp_path)


def test_files_of_an_earlier_export_are_deleted(tmp_path):
    for name in ("model.pt2", "load.py", "notes.txt"):
        (tmp_path / name).touch()
    delete_stale_files(tmp_path, ("model.pt2", "load.py"), ["load.py"])

    assert sorted(path.name for path in tmp_path.iterdir()) == ["load.py", "notes.txt"]


@pytest.mark.slow
def test_image_export_gives_the_answers_of_predict_without_this_package(tmp_path):
    from PIL import Image

    run_dir, _, _ = train_for_export(get_tiny_model("images"), tmp_path / "run")
    (tmp_path / "photos").mkdir()
    paths = [tmp_path / "photos" / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        Image.effect_noise((50 + 30 * index, 60), 90).convert("RGB").save(path)
    run_export(run_dir, tmp_path / "hub", "format=hub")
    expected = predict_file(run_dir, tmp_path / "photos", tmp_path / "p.csv")

    code = read_code(tmp_path / "hub" / "README.md").replace("photo.jpg", str(paths[0]))
    *probabilities, prediction = run_isolated(tmp_path / "hub", LOAD_PROGRAM + code, *map(str, paths))

    # Predictions have six decimals.
    assert list(map(float, probabilities)) == pytest.approx(expected, abs=2e-5)
    assert "class 0" in prediction


@pytest.mark.slow
@pytest.mark.usefixtures("requires_text_packages")
@pytest.mark.parametrize("kind", ["transformers", "own"])
def test_text_export_gives_the_answers_of_predict_without_this_package(kind, tmp_path):
    overrides = {
        "own": ["model=tiny_text"],
        "transformers": [
            "model=text_classifier",
            "+model.config_overrides={dim: 16, hidden_dim: 16, n_layers: 1, n_heads: 2}",
        ],
    }[kind]
    from firstlight import train

    run_dir, texts = tmp_path / "run", ["word1 word2 " * 500, "word3"]
    data = ["data=fake_text", "data.num_samples=16", "data.num_classes=2", "trainer=cpu", "logger=none"]
    limits = ["trainer.precision=32-true", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    train.main(compose_config("train", [*overrides, *data, *limits, "test=false", f"output_dir={run_dir}"]))
    run_export(run_dir, tmp_path / "hub", "format=hub")
    (tmp_path / "texts.csv").write_text("text\n" + "\n".join(texts))
    expected = predict_file(run_dir, tmp_path / "texts.csv", tmp_path / "p.csv")
    program = TEXT_PROGRAM if kind == "transformers" else LOAD_PROGRAM

    *probabilities, prediction = run_isolated(tmp_path / "hub", program + read_code(tmp_path / "hub/README.md"), *texts)

    assert list(map(float, probabilities)) == pytest.approx(expected, abs=2e-5)
    assert "class 0" in prediction
