"""One way through for every model: train, evaluate, predict, resume; offline, and from the run folder alone.

A test file imports these tests, and has a fixture `trained` that returns what `walked` does.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from firstlight import evaluate, predict, train
from firstlight.config.compose import compose_config as composed_from
from firstlight.config.options import load_option
from firstlight.run.provenance import get_package_versions
from support.options import get_modality, make_tiny_overrides


def run_all_commands(model: str, folder: Path) -> tuple[Path, dict[str, float], str]:
    """Train two epochs; return the folder of the finished run, its metrics and the model."""
    words = [*make_tiny_overrides(model), "trainer.max_epochs=2", f"output_dir={folder}"]
    return folder, train.main(composed_from("train", words)), model


def read_record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_a_run_writes_its_folder(trained):
    folder, metrics, model = trained
    record = read_record(folder)
    always = {"config.yaml", "run.json", "output.log", "metrics.csv", "learning_curves.png", "checkpoints"}
    always |= {"confusion_matrix.png", "confusion_matrix.json", "predictions.json"}
    pictures = {"first_batch.png", "predictions"} if get_modality("model", model) == "images" else set()

    assert always | pictures == {path.name for path in folder.iterdir()} - {".lock"}
    assert {"best.ckpt", "last.ckpt"} == {path.name for path in (folder / "checkpoints").iterdir()}
    assert record["status"] == "finished"
    assert metrics == record["metrics"]
    assert {"test/accuracy", "test/f1", "test/loss", "val/accuracy", "speed/samples_per_s"} <= set(metrics)
    assert set(get_package_versions()) == set(record["versions"]) >= {"torch", "lightning"}
    assert record["seed"] == 0
    assert record["device"] == "cpu"
    assert Path(record["checkpoints"]["best"]).samefile(folder / "checkpoints" / "best.ckpt")


def test_metrics_csv_has_the_curves(trained):
    folder, metrics, _ = trained
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))

    assert [int(row["step"]) for row in rows if row["val/loss"]] == [3, 7]
    assert sum(bool(row["train/loss"]) for row in rows) == 8
    assert any(float(row["test/accuracy"]) == metrics["test/accuracy"] for row in rows if row["test/accuracy"])


def test_a_checkpoint_loads_with_weights_only_and_explains_itself(trained):
    folder, _, model = trained
    for name in ("best", "last"):
        saved = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert load_option("model", model)["model"]["_target_"] == saved["config"]["model"]["_target_"]


@pytest.mark.parametrize("by", ["run", "ckpt"])
def test_evaluate_repeats_the_figures_to_the_last_digit(trained, by, capsys):
    folder, metrics, _ = trained
    word = f"run={folder}" if by == "run" else f"ckpt={folder}/checkpoints/best.ckpt"
    again = evaluate.main(composed_from("evaluate", [word]))

    assert {name: metrics[name] for name in again} == again
    assert repr(metrics["test/accuracy"]) in capsys.readouterr().out


def test_evaluate_needs_nothing_but_the_checkpoint(trained, tmp_path):
    folder, metrics, _ = trained
    alone = tmp_path / "alone.ckpt"
    alone.write_bytes((folder / "checkpoints" / "best.ckpt").read_bytes())
    again = evaluate.main(composed_from("evaluate", [f"ckpt={alone}"]))

    assert {name: metrics[name] for name in again} == again


def test_evaluate_takes_overrides_and_another_split(trained):
    folder, metrics, _ = trained
    again = evaluate.main(composed_from("evaluate", [f"run={folder}", "split=val", "ckpt=last", "data.batch_size=3"]))

    # The last epoch's validation, in other batches: equal but for rounding.
    assert again["val/accuracy"] == metrics["val/accuracy"]
    assert again["val/loss"] == pytest.approx(metrics["val/loss"], rel=1e-4)


def make_inputs(model: str, folder: Path) -> Path:
    """Write two good inputs and a bad one."""
    if get_modality("model", model) == "text":
        (folder / "in.csv").write_text('text,note\nword1 word2 class0,x\n"",x\nclass1 class1 class1,x\n')
        return folder / "in.csv"
    for index, name in enumerate(("a.png", "c.jpg")):
        Image.new("RGB", (40, 50), (index * 200, 30, 60)).save(folder / name)
    (folder / "b.png").write_bytes(b"no image")
    return folder


def test_predict_writes_each_input_and_reports_the_unreadable(trained, tmp_path, capsys):
    folder, _, model = trained
    source = make_inputs(model, tmp_path)
    output = tmp_path / "out" / "predictions.csv"
    words = [f"run={folder}", f"input={source}", f"output={output}"]

    assert predict.main(composed_from("predict", words)) == 2
    with output.open() as file:
        rows = list(csv.DictReader(file))
    texts = get_modality("model", model) == "text"
    expected = ["1", "3"] if texts else [str(tmp_path / "a.png"), str(tmp_path / "c.jpg")]
    told = capsys.readouterr()
    assert expected == [row["id"] for row in rows]
    assert all(row["label"] in ("class 0", "class 1") and 0.5 <= float(row["probability"]) <= 1 for row in rows)
    assert ("row 2: no text in column 'text'" if texts else "Cannot read the image") in told.err
    assert "2 of 3 inputs" in told.out


def test_a_run_can_be_used_on_another_device(trained):
    folder, metrics, _ = trained
    again = evaluate.main(composed_from("evaluate", [f"run={folder}", "trainer=cpu", "trainer.devices=1"]))

    assert again["test/accuracy"] == metrics["test/accuracy"]


def test_data_with_other_classes_is_refused(trained):
    folder, _, _ = trained

    with pytest.raises(ValueError, match="The model knows the classes class 0, class 1, but the data has class 0, cla"):
        evaluate.main(composed_from("evaluate", [f"run={folder}", "data.num_classes=3"]))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["optimizer.lr=1.0"], "A run that goes on keeps its settings, but optimizer.lr was .* and would become 1.0"),
        ([], "has finished: add trainer.max_epochs=<more> to train it further"),
        (["trainer=brand_new"], "There is no trainer=brand_new: known are auto, cpu, cuda, ddp, fsdp, mps"),
    ],
)
def test_a_resume_that_makes_no_sense_is_refused_and_nothing_is_lost(trained, words, sentence):
    folder, _, _ = trained
    before = (folder / "run.json").read_text()

    with pytest.raises(ValueError, match=sentence):
        train.main(composed_from("train", [f"resume={folder}", *words]))
    assert before == (folder / "run.json").read_text()


def test_resume_takes_a_folder_not_a_file(trained):
    folder, _, _ = trained

    with pytest.raises(ValueError, match="resume= takes the folder of a run, but it is .*last.ckpt: give"):
        composed_from("train", [f"resume={folder}/checkpoints/last.ckpt"])


def test_a_moved_run_goes_on_where_it_is_now(trained, tmp_path):
    folder, _, _ = trained
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    before = (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    train.main(composed_from("train", [f"resume={moved}", "trainer.max_epochs=3", "test=false"]))

    assert before == (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert torch.load(moved / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1 == 3
    assert len(read_record(moved)["attempts"]) == 2
    assert "test/accuracy" in read_record(moved)["metrics"]


def test_resume_goes_on_in_the_same_folder(trained, tmp_path):
    folder, _, _ = trained
    words = [f"resume={folder}", "trainer.max_epochs=3"]
    metrics = train.main(composed_from("train", words))
    with (folder / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]

    assert steps == [3, 7, 11]
    assert read_record(folder)["status"] == "finished"
    assert metrics == {name: read_record(folder)["metrics"][name] for name in metrics}
    assert {"best.ckpt", "last.ckpt"} == {path.name for path in (folder / "checkpoints").iterdir()}
