"""Training on files of a user with several labels or a number per sample: real metrics, predictions, exact resume."""

import csv
import json

import pytest

from firstlight import evaluate, predict, train
from firstlight.config.compose import compose_config
from support.digit_labels import LABELS, write_digit_images, write_digit_texts
from support.interruption import check_resume_matches_uninterrupted
from support.options import QUICK_OVERRIDES

# By modality and task: the metric and its lower bound.
COMBINATIONS = {
    ("images", "multilabel"): ("test/f1_macro", 0.9),
    ("images", "regression"): ("test/r2", 0.9),
    ("text", "multilabel"): ("test/f1_macro", 0.9),
    ("text", "regression"): ("test/r2", 0.85),
}
EPOCHS = {"images": 8, "text": 20}
MODELS = {"multilabel": "multilabel", "regression": "regressor"}
COLUMNS = {"multilabel": "labels", "regression": "ink"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the directory of images and the file of texts."""
    directory = tmp_path_factory.mktemp("files")
    return {
        "images": write_digit_images(directory / "images"),
        "text": write_digit_texts(directory / "texts.csv"),
    }


def make_overrides(files, modality, task):
    data = {
        "images": ["data=image_folder", f"data.root={files['images']}", "data.image_size=8", "data.augment=false"],
        "text": ["data=text_file", f"data.path={files['text']}"],
    }[modality]
    model = [f"model=tiny_{modality}_{MODELS[task]}", f"data.label_column={COLUMNS[task]}", "model.width=64"]
    return [*QUICK_OVERRIDES, *model, *data, "data.num_workers=0", "optimizer.lr=0.01", "data.batch_size=64"]


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def combination(request):
    return request.param


@pytest.mark.slow
def test_model_learns_real_labels(compose_cfg, files, tmp_path, combination):
    if combination[0] == "text":
        pytest.importorskip("transformers", reason="the extra text is not installed")
    name, minimum = COMBINATIONS[combination]
    overrides = [*make_overrides(files, *combination), f"trainer.max_epochs={EPOCHS[combination[0]]}"]
    metrics = train.main(compose_cfg(*overrides))["metrics"]
    print({key: round(value, 4) for key, value in metrics.items() if key.startswith("test/")})

    assert metrics[name] > minimum
    evaluated = evaluate.main(compose_config("evaluate", [f"run={tmp_path / 'run'}"]))["metrics"]
    assert evaluated[name] == metrics[name]
    check_result_files(tmp_path / "run", combination[1], metrics)
    check_predictions(files[combination[0]], tmp_path, combination)


def check_result_files(run_dir, task, metrics):
    """Check the plot of the test and its JSON file; a run has only those of its task."""
    names = {"multilabel": "label_scores", "regression": "predicted_vs_true"}
    for other, name in {**names, "classification": "confusion_matrix"}.items():
        for suffix in (".png", ".json"):
            assert (run_dir / f"{name}{suffix}").is_file() == (other == task)
    content = json.loads((run_dir / f"{names[task]}.json").read_text())
    if task == "multilabel":
        assert [row["name"] for row in content["labels"]] == sorted(LABELS)
        assert sum(row["f1"] for row in content["labels"]) / 3 == pytest.approx(metrics["test/f1_macro"])
        precisions = [row["average_precision"] for row in content["labels"]]
        assert sum(precisions) / 3 == pytest.approx(metrics["test/average_precision"])
    else:
        errors = [abs(a - b) for a, b in zip(content["true"], content["predicted"], strict=True)]
        assert content["num_samples"] == len(errors) == 180
        assert sum(errors) / 180 == pytest.approx(metrics["test/mae"], rel=1e-4)


def check_predictions(path, tmp_path, combination):
    """Check the CSV file with the predictions of all samples."""
    modality, task = combination
    output = tmp_path / "predictions.csv"
    predict.main(compose_config("predict", [f"run={tmp_path / 'run'}", f"input={path}", f"output={output}"]))
    with output.open() as file:
        rows = list(csv.DictReader(file))
    table = path / "metadata.csv" if modality == "images" else path
    with table.open() as file:
        true = list(csv.DictReader(file))

    assert len(rows) == len(true) == 1797
    if task == "multilabel":
        assert list(rows[0]) == ["id", "labels", *sorted(LABELS)]
        for row in rows:
            assert row["labels"].split(";") == [name for name in sorted(LABELS) if float(row[name]) > 0.5] or [""]
    else:
        assert list(rows[0]) == ["id", "ink"]
        assert min(float(row["ink"]) for row in rows) > 100
        assert max(float(row["ink"]) for row in rows) < 600


@pytest.mark.parametrize(
    "combination",
    [
        ("images", "multilabel"),
        ("text", "regression"),
        pytest.param(("images", "regression"), marks=pytest.mark.slow),
        pytest.param(("text", "multilabel"), marks=pytest.mark.slow),
    ],
    ids="-".join,
)
def test_stopped_run_resumes_bit_for_bit(files, tmp_path, combination):
    if combination[0] == "text":
        pytest.importorskip("transformers", reason="the extra text is not installed")
    overrides = [*make_overrides(files, *combination), "trainer.max_epochs=2", "trainer.limit_train_batches=6"]
    # After the first epoch, then inside the second one.
    check_resume_matches_uninterrupted(tmp_path, overrides, [("train_epoch_end", 0), ("train_batch_end", 2)])


def test_run_record_has_metrics_of_each_label(compose_cfg, files, tmp_path):
    train.main(compose_cfg(*make_overrides(files, "images", "multilabel"), "trainer.limit_train_batches=2"))
    metrics = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]

    assert {f"test/per_label_f1/{name}" for name in LABELS} < set(metrics)
