"""Tests of the predictions of the demo: those of `make predict` for the same input, in each task."""

import csv
import os

import pytest
import torch
from PIL import Image

from firstlight import predict, train
from firstlight.build import build
from firstlight.config.compose import compose_config
from firstlight.demo.inputs import InputError
from firstlight.demo.predictor import MAX_ROWS, Predictor, format_prediction, validate_dataset
from firstlight.run.errors import ConfigError
from support.options import QUICK_OVERRIDES, TINY_OVERRIDES
from support.tiny_models import TinyMLP
from support.tiny_tasks import TinyImagesMultiLabel, TinyImagesRegressor

TASKS = ["images", "images_multilabel", "images_regressor", "text", "text_multilabel", "text_regressor"]


def train_tiny(model, run_dir):
    """Train one of the tiny models for a step; return its run directory."""
    modality = model.partition("_")[0]
    overrides = [f"model=tiny_{model}", *TINY_OVERRIDES[modality], *QUICK_OVERRIDES, f"output_dir={run_dir}"]
    train.main(compose_config("train", [*overrides, "trainer.limit_train_batches=1", "test=false"]))
    return run_dir


def make_predictor(run_dir):
    cfg = compose_config("demo", [f"run={run_dir}", "ckpt=last", "trainer=cpu", "trainer.precision=32-true"])
    return Predictor(*build(cfg, f"{run_dir}/checkpoints/last.ckpt", read_data=False))


def write_inputs(modality, directory):
    """Write some inputs; return the contents that the page sends, and what predict reads."""
    directory.mkdir()
    if modality == "text":
        texts = ["word1 word2", "a longer text, word3 " * 200]
        (directory / "texts.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in texts))
        return [text.encode() for text in texts], directory / "texts.csv"
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.effect_noise((640, 480), 90).convert("RGB").save(directory / "0.jpg", exif=exif)
    Image.effect_noise((20, 31), 90).convert("RGBA").rotate(30).save(directory / "1.png")
    return [path.read_bytes() for path in sorted(directory.iterdir())], directory


@pytest.mark.slow
@pytest.mark.parametrize("model", TASKS)
def test_demo_predicts_as_predict_does(model, tmp_path, monkeypatch):
    if model.startswith("text"):
        pytest.importorskip("transformers", reason="the extra text is not installed")
    run_dir = train_tiny(model, tmp_path / "run")
    contents, source = write_inputs(model.partition("_")[0], tmp_path / "inputs")
    overrides = [f"run={run_dir}", "ckpt=last", f"input={source}", f"output={tmp_path / 'p.csv'}"]
    predict.main(compose_config("predict", [*overrides, "trainer=cpu", "trainer.precision=32-true"]))
    with (tmp_path / "p.csv").open() as file:
        expected = list(csv.DictReader(file))
    predictor = make_predictor(run_dir)
    monkeypatch.chdir(tmp_path / "inputs")
    before = sorted(os.listdir())

    for content, row in zip(contents, expected, strict=True):
        answer = predictor.predict(content)
        shown = {item["name"]: item["value"] for item in answer["rows"]}
        if "label" in row:
            assert answer["rows"][0]["name"] == row["label"]
            # The table has six decimals.
            assert answer["rows"][0]["value"] == pytest.approx(float(row["probability"]), abs=1e-6)
        elif "labels" in row:
            assert shown == pytest.approx({name: float(row[name]) for name in shown}, abs=1e-6)
        else:
            assert shown.keys() == row.keys() - {"id"}
            # The batch of predict has two inputs, which changes the last digit of float32 sums.
            assert all(float(value) == pytest.approx(float(row[name]), rel=1e-4) for name, value in shown.items())
    assert sorted(os.listdir()) == before
    if model == "images":
        with pytest.raises(InputError, match="^The file cannot be read as an image: .*truncated"):
            predictor.predict(contents[0][:2000])


def test_classes_are_sorted_and_limited():
    names = [f"class {index}" for index in range(40)]
    probabilities = torch.arange(40.0) / 780
    answer = format_prediction(TinyMLP(names, 2), {"ids": torch.zeros(1), "probabilities": probabilities[None]})

    assert (answer["kind"], answer["total"], len(answer["rows"])) == ("classes", 40, MAX_ROWS)
    assert answer["rows"][0] == {"name": "class 39", "value": pytest.approx(0.05)}


def test_labels_have_independent_probabilities():
    model = TinyImagesMultiLabel(["sea", "sky"], image_size=2)
    answer = format_prediction(model, {"ids": torch.zeros(1), "probabilities": torch.tensor([[0.25, 0.75]])})

    assert (answer["kind"], answer["total"]) == ("labels", 2)
    assert answer["rows"] == [{"name": "sky", "value": 0.75}, {"name": "sea", "value": 0.25}]


def test_number_has_the_name_of_the_target():
    model = TinyImagesRegressor(image_size=2, target_name="price", target_mean=0.0, target_std=1.0)
    answer = format_prediction(model, {"ids": torch.zeros(1), "predictions": torch.tensor([12.5])})

    assert answer == {"kind": "values", "rows": [{"name": "price", "value": "12.5"}]}


def test_module_of_another_package_is_one_line():
    with pytest.raises(ConfigError, match="`make demo` requires a Task .* but the model is Linear. Use `make"):
        Predictor(torch.nn.Linear(1, 1), None, None)


def test_dataset_with_its_own_reader_of_files_needs_one_for_memory():
    from firstlight.data.fake_images import FakeImageDataModule

    class OwnReader(FakeImageDataModule):
        def load_predict_inputs(self, paths):
            raise NotImplementedError

    validate_dataset(FakeImageDataModule(num_classes=2, num_samples=8))
    with pytest.raises(ConfigError, match="OwnReader has its own load_predict_inputs, but not make_predict_dataset"):
        validate_dataset(OwnReader(num_classes=2, num_samples=8))
