"""What a notebook gets: `firstlight.load` and `firstlight.create`."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import lightning.pytorch
import pytest
import torch
from PIL import Image

import firstlight
from firstlight import evaluate, train
from firstlight.config.compose import compose_config as composed_from
from support.options import get_modality, get_tiny_model, list_options, make_tiny_overrides


@pytest.fixture(
    scope="module", params=sorted({get_modality("model", name): name for name in list_options("model")}.values())
)
def trained(request, tmp_path_factory):
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    train.main(composed_from("train", [*make_tiny_overrides(request.param), "test=false", f"output_dir={folder}"]))
    return folder


def measured(model, data) -> dict[str, float]:
    trainer = lightning.pytorch.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    return trainer.test(model, data, verbose=False)[0]


@pytest.mark.parametrize("place", [".", "checkpoints/best.ckpt"])
def test_a_loaded_model_measures_what_evaluate_does(trained, place):
    loaded = firstlight.load(trained / place)

    assert not loaded.model.training
    assert not loaded.data.datasets
    expected = evaluate.main(composed_from("evaluate", [f"run={trained}"]))
    # The command keeps images in another order in memory, and sums are rounded in that order.
    assert expected == pytest.approx(measured(loaded.model, loaded.data), rel=1e-5)
    assert loaded.config.data.batch_size == 4


def test_inputs_are_predicted_without_the_data_of_the_training(trained, tmp_path):
    loaded = firstlight.load(trained)
    (tmp_path / "texts.csv").write_text("text\nword1 word2\nword3\n")
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    found = loaded.data.set_predict_inputs(
        str(tmp_path if loaded.model.modality == "images" else tmp_path / "texts.csv")
    )
    trainer = lightning.pytorch.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    batches = trainer.predict(loaded.model, loaded.data)

    assert sum(len(each["probabilities"]) for each in batches) == len(found) > 0


def test_what_is_built_trains_into_a_run_that_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    built = firstlight.create(make_tiny_overrides(get_tiny_model()))
    folder = Path(built.config.output_dir)
    assert not (tmp_path / "logs").exists()

    built.trainer.fit(built.model, built.data)
    built.trainer.test(built.model, built.data, verbose=False)
    record = json.loads((folder / "run.json").read_text())
    with (folder / "metrics.csv").open() as file:
        steps = [row["step"] for row in csv.DictReader(file) if row["train/loss"]]
    assert record["status"] == "finished"
    assert record["metrics"]["test/accuracy"] >= 0
    assert len(steps) == 4
    again = firstlight.load(folder / "checkpoints" / "last.ckpt").model.state_dict()
    torch.testing.assert_close(again, built.model.state_dict(), atol=0, rtol=0)


def test_a_training_that_fails_is_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "step==1:broke down")
    built = firstlight.create([*make_tiny_overrides("tiny_faulty"), f"output_dir={tmp_path / 'run'}"])

    with pytest.raises(RuntimeError, match="broke down"):
        built.trainer.fit(built.model, built.data)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["reason"]) == ("failed", "RuntimeError: broke down")


def test_a_folder_of_another_run_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    built = firstlight.create([*make_tiny_overrides(get_tiny_model()), f"output_dir={tmp_path}"])

    with pytest.raises(ValueError, match="already contains a run. Pass output_dir=<new directory>."):
        built.trainer.fit(built.model, built.data)
    assert (tmp_path / "run.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: firstlight.load("logs/nope"), "No run found in logs/nope. Use the run directory printed by"),
        (
            lambda: firstlight.create(["model=tiny_images", "data=fake_text"]),
            "TinyImages expects images, but FakeTextDataModule provides",
        ),
        (
            lambda: firstlight.create(["model=tiny_images", "data.batch_size=x"]),
            "Invalid value for data.batch_size: expected an integer, got 'x'.",
        ),
    ],
)
def test_mistakes_are_the_sentences_of_the_commands(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_importing_the_package_imports_nothing_heavy(tmp_path):
    script = "import sys, firstlight; print({'torch', 'hydra', 'lightning'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(Path(firstlight.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.stdout.strip() == "set()", done.stderr
