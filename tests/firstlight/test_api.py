"""The Python API: `firstlight.load` and `firstlight.create`."""

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
from firstlight.config.compose import compose_config
from support.options import get_modality, get_tiny_model, list_options, make_tiny_overrides


@pytest.fixture(
    scope="module", params=sorted({get_modality("model", name): name for name in list_options("model")}.values())
)
def run_dir(request, tmp_path_factory):
    """Return the run directory of a finished run."""
    run_dir = tmp_path_factory.mktemp(request.param) / "run"
    train.main(compose_config("train", [*make_tiny_overrides(request.param), "test=false", f"output_dir={run_dir}"]))
    return run_dir


def compute_test_metrics(model, data) -> dict[str, float]:
    trainer = lightning.pytorch.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    return trainer.test(model, data, verbose=False)[0]


@pytest.mark.parametrize("path", [".", "checkpoints/best.ckpt"])
def test_loaded_model_matches_evaluate(run_dir, path):
    loaded = firstlight.load(run_dir / path)

    assert not loaded.model.training
    assert not loaded.data.datasets
    expected = evaluate.main(compose_config("evaluate", [f"run={run_dir}"]))["metrics"]
    # The command uses another memory format, which changes the order of summation.
    assert expected == pytest.approx(compute_test_metrics(loaded.model, loaded.data), rel=1e-5)
    assert loaded.config.data.batch_size == 4


def test_predict_without_training_data(run_dir, tmp_path):
    loaded = firstlight.load(run_dir)
    (tmp_path / "texts.csv").write_text("text\nword1 word2\nword3\n")
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    inputs = loaded.data.set_predict_inputs(
        str(tmp_path if loaded.model.modality == "images" else tmp_path / "texts.csv")
    )
    trainer = lightning.pytorch.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    batches = trainer.predict(loaded.model, loaded.data)

    assert sum(len(batch["probabilities"]) for batch in batches) == len(inputs) > 0


def test_created_experiment_trains_into_loadable_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = firstlight.create(make_tiny_overrides(get_tiny_model()))
    run_dir = Path(experiment.config.output_dir)
    assert not (tmp_path / "logs").exists()

    experiment.trainer.fit(experiment.model, experiment.data)
    experiment.trainer.test(experiment.model, experiment.data, verbose=False)
    record = json.loads((run_dir / "run.json").read_text())
    with (run_dir / "metrics.csv").open() as file:
        steps = [row["step"] for row in csv.DictReader(file) if row["train/loss"]]
    assert record["status"] == "finished"
    assert record["metrics"]["test/accuracy"] >= 0
    assert len(steps) == 4
    loaded = firstlight.load(run_dir / "checkpoints" / "last.ckpt").model.state_dict()
    torch.testing.assert_close(loaded, experiment.model.state_dict(), atol=0, rtol=0)


def test_failed_run_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "step==1:broke down")
    experiment = firstlight.create([*make_tiny_overrides("tiny_faulty"), f"output_dir={tmp_path / 'run'}"])

    with pytest.raises(RuntimeError, match="broke down"):
        experiment.trainer.fit(experiment.model, experiment.data)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["reason"]) == ("failed", "RuntimeError: broke down")


def test_directory_of_another_run_is_rejected(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    experiment = firstlight.create([*make_tiny_overrides(get_tiny_model()), f"output_dir={tmp_path}"])

    with pytest.raises(ValueError, match="already contains a run. Pass output_dir=<new directory>."):
        experiment.trainer.fit(experiment.model, experiment.data)
    assert (tmp_path / "run.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: firstlight.load("logs/nope"), "No run found in logs/nope. Use the run directory printed by"),
        (
            lambda: firstlight.create(["model=tiny_images", "data=fake_text"]),
            "model=tiny_images expects images, but data=fake_text provides text",
        ),
        (
            lambda: firstlight.create(["model=tiny_images", "data.batch_size=x"]),
            "Invalid value for data.batch_size: expected an integer, got 'x'.",
        ),
    ],
)
def test_api_raises_same_errors_as_commands(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_import_does_not_import_heavy_packages(tmp_path):
    script = "import sys, firstlight; print({'torch', 'hydra', 'lightning'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(Path(firstlight.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.stdout.strip() == "set()", done.stderr
