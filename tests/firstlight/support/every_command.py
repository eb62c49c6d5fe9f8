"""Tests of all commands with one model: train, evaluate, predict and resume, offline and from the run directory.

A test file imports these tests and defines a fixture `trained_run`, which returns what `train_two_epochs` returns.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from firstlight import evaluate, predict, train
from firstlight.config.compose import compose_config
from firstlight.config.options import load_option
from firstlight.run.files import ENGINE_KEY
from firstlight.run.provenance import get_package_versions
from support.options import get_modality, make_tiny_overrides


def train_two_epochs(model: str, run_dir: Path) -> tuple[Path, dict[str, float], str]:
    """Train two epochs; return the run directory, the metrics and the name of the model."""
    overrides = [*make_tiny_overrides(model), "trainer.max_epochs=2", f"output_dir={run_dir}"]
    return run_dir, train.main(compose_config("train", overrides))["metrics"], model


def read_record(run_dir: Path) -> dict:
    """Return the contents of run.json."""
    return json.loads((run_dir / "run.json").read_text())


def test_run_directory_contents(trained_run):
    run_dir, metrics, model = trained_run
    record = read_record(run_dir)
    always = {"config.yaml", "run.json", "output.log", "metrics.csv", "learning_curves.png", "checkpoints", "best.json"}
    always |= {"confusion_matrix.png", "confusion_matrix.json", "predictions.json", "provenance"}
    image_files = {"first_batch.png", "predictions"} if get_modality("model", model) == "images" else set()

    assert always | image_files == {path.name for path in run_dir.iterdir()} - {".lock"}
    assert {"best.ckpt", "last.ckpt"} == {path.name for path in (run_dir / "checkpoints").iterdir()}
    assert record["status"] == "finished"
    assert metrics == record["metrics"]
    assert {"test/accuracy", "test/f1", "test/loss", "val/accuracy", "speed/samples_per_s"} <= set(metrics)
    assert set(get_package_versions()) == set(record["versions"]) >= {"torch", "lightning"}
    assert record["seed"] == 0
    assert record["device"] == "cpu"
    assert Path(record["checkpoints"]["best"]).samefile(run_dir / "checkpoints" / "best.ckpt")


def test_metrics_csv_has_train_val_and_test_rows(trained_run):
    run_dir, metrics, _ = trained_run
    with (run_dir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))

    assert [int(row["step"]) for row in rows if row["val/loss"]] == [3, 7]
    assert sum(bool(row["train/loss"]) for row in rows) == 8
    assert any(float(row["test/accuracy"]) == metrics["test/accuracy"] for row in rows if row["test/accuracy"])


def test_checkpoint_loads_with_weights_only_and_contains_config(trained_run):
    run_dir, _, model = trained_run
    for name in ("best", "last"):
        checkpoint = torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)
        saved = checkpoint[ENGINE_KEY]["config"]["model"]
        assert load_option("model", model)["model"]["_target_"] == saved["_target_"]


@pytest.mark.parametrize("key", ["run", "ckpt"])
def test_evaluate_reproduces_metrics_exactly(trained_run, key, capsys):
    run_dir, metrics, _ = trained_run
    override = f"run={run_dir}" if key == "run" else f"ckpt={run_dir}/checkpoints/best.ckpt"
    evaluated = evaluate.main(compose_config("evaluate", [override]))["metrics"]

    assert {name: metrics[name] for name in evaluated} == evaluated
    assert repr(metrics["test/accuracy"]) in capsys.readouterr().out


def test_evaluate_needs_only_the_checkpoint(trained_run, tmp_path):
    run_dir, metrics, _ = trained_run
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes((run_dir / "checkpoints" / "best.ckpt").read_bytes())
    overrides = [f"ckpt={copy}", f"output_dir={tmp_path / 'results'}"]
    evaluated = evaluate.main(compose_config("evaluate", overrides))["metrics"]

    assert {name: metrics[name] for name in evaluated} == evaluated


def read_files(run_dir: Path) -> dict[Path, bytes]:
    """Return the contents of all files of a run, except its evaluations."""
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if "evaluations" not in path.relative_to(run_dir).parts}


def test_evaluate_with_overrides_and_another_split(trained_run):
    run_dir, metrics, _ = trained_run
    overrides = [f"run={run_dir}", "split=val", "data.batch_size=3"]
    before, earlier = read_files(run_dir), set(run_dir.glob("evaluations/*"))
    evaluated = evaluate.main(compose_config("evaluate", overrides))["metrics"]
    (results,) = set(run_dir.glob("evaluations/*")) - earlier
    record = json.loads((results / "evaluation.json").read_text())

    assert before == read_files(run_dir)
    assert {"confusion_matrix.json", "confusion_matrix.png", "predictions.json"} <= {
        path.name for path in results.iterdir()
    }
    assert (record["split"], record["metrics"]) == ("val", evaluated)
    assert record["samples"] == sum(map(sum, json.loads((results / "confusion_matrix.json").read_text())["counts"]))
    assert record["checkpoint"] == str(run_dir / "checkpoints" / "best.ckpt")
    # The metrics of the run are those of its best checkpoint. Other batches: equal except for rounding.
    assert evaluated["val/accuracy"] == metrics["val/accuracy"]
    assert evaluated["val/loss"] == pytest.approx(metrics["val/loss"], rel=1e-4)


def make_inputs(model: str, directory: Path) -> Path:
    """Write two valid inputs and an invalid one; return the value for input=."""
    if get_modality("model", model) == "text":
        (directory / "in.csv").write_text('text,note\nword1 word2 class0,x\n"",x\nclass1 class1 class1,x\n')
        return directory / "in.csv"
    for index, name in enumerate(("a.png", "c.jpg")):
        Image.new("RGB", (40, 50), (index * 200, 30, 60)).save(directory / name)
    (directory / "b.png").write_bytes(b"no image")
    return directory


def test_predict_writes_valid_inputs_and_reports_invalid_ones(trained_run, tmp_path, capsys):
    run_dir, _, model = trained_run
    source = make_inputs(model, tmp_path)
    output = tmp_path / "out" / "predictions.csv"
    overrides = [f"run={run_dir}", f"input={source}", f"output={output}"]

    assert predict.main(compose_config("predict", overrides))["num_predictions"] == 2
    with output.open() as file:
        rows = list(csv.DictReader(file))
    is_text = get_modality("model", model) == "text"
    expected = ["1", "3"] if is_text else [str(tmp_path / "a.png"), str(tmp_path / "c.jpg")]
    printed = capsys.readouterr()
    assert expected == [row["id"] for row in rows]
    assert all(row["label"] in ("class 0", "class 1") and 0.5 <= float(row["probability"]) <= 1 for row in rows)
    assert ("row 2: no text in column 'text'" if is_text else "Cannot read image") in printed.err
    assert "2 of 3 inputs" in printed.out


def test_run_can_be_evaluated_on_another_device(trained_run):
    run_dir, metrics, _ = trained_run
    overrides = [f"run={run_dir}", "trainer=cpu", "trainer.devices=1"]
    evaluated = evaluate.main(compose_config("evaluate", overrides))["metrics"]

    assert evaluated["test/accuracy"] == metrics["test/accuracy"]


def test_dataset_with_other_classes_is_rejected(trained_run):
    run_dir, _, _ = trained_run

    with pytest.raises(
        ValueError,
        match="Class names differ: the model was trained on class 0, class 1, but the dataset has class 0, cla",
    ):
        evaluate.main(compose_config("evaluate", [f"run={run_dir}", "data.num_classes=3"]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=1.0"], "Cannot change optimizer.lr from .* to 1.0 when resuming"),
        ([], "has already finished. To train longer, increase trainer.max_epochs."),
        # The value does not change, although it is spelled otherwise.
        (["trainer.overfit_batches=0.0"], "has already finished. To train longer, increase trainer.max_epochs."),
        (["trainer=brand_new"], "Unknown option trainer=brand_new. Available: auto, cpu, cuda, ddp, fsdp, mps."),
    ],
)
def test_invalid_resume_is_rejected_without_changes(trained_run, overrides, message):
    run_dir, _, _ = trained_run
    before = (run_dir / "run.json").read_text()

    with pytest.raises(ValueError, match=message):
        train.main(compose_config("train", [f"resume={run_dir}", *overrides]))
    assert before == (run_dir / "run.json").read_text()


def test_resume_expects_a_directory(trained_run):
    run_dir, _, _ = trained_run

    with pytest.raises(ValueError, match="resume= expects a run directory, got .*last.ckpt. Pass resume="):
        compose_config("train", [f"resume={run_dir}/checkpoints/last.ckpt"])


def test_moved_run_resumes_in_new_directory(trained_run, tmp_path):
    run_dir, _, _ = trained_run
    moved = tmp_path / "moved"
    shutil.copytree(run_dir, moved)
    before = (run_dir / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    train.main(compose_config("train", [f"resume={moved}", "trainer.max_epochs=3", "test=false"]))

    assert before == (run_dir / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert torch.load(moved / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1 == 3
    assert len(read_record(moved)["attempts"]) == 2
    assert "test/accuracy" in read_record(moved)["metrics"]


def test_resume_continues_in_same_directory(trained_run, tmp_path):
    run_dir, _, _ = trained_run
    metrics = train.main(compose_config("train", [f"resume={run_dir}", "trainer.max_epochs=3"]))["metrics"]
    with (run_dir / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]

    assert steps == [3, 7, 11]
    assert read_record(run_dir)["status"] == "finished"
    assert metrics == {name: read_record(run_dir)["metrics"][name] for name in metrics}
    assert {"best.ckpt", "last.ckpt"} == {path.name for path in (run_dir / "checkpoints").iterdir()}
