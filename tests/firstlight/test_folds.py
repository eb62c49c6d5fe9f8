"""Commands on runs with folds: the same samples after a stop and in an evaluation, intervals, sweeps over folds."""

import csv
import json

import pytest

from firstlight import evaluate, train
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.data.metadata import load_metadata
from firstlight.model.init_from import warn_about_trained_samples
from firstlight.model.load import build_datamodule
from firstlight.run.errors import ConfigError
from firstlight.run.files import to_plain_dict
from firstlight.sweep.plan import SweepPlan, expand_jobs_or_corners, validate_jobs
from support.fold_datasets import make_rows, write_rows
from support.interruption import check_resume_matches_uninterrupted, read_record
from support.options import QUICK_OVERRIDES
from support.sweep_in_process import make_sweep_runner
from support.tiny_training import NO_PLOTS

FOLDS = ["data.num_folds=5", "data.group_column=patient"]


@pytest.fixture
def overrides(tmp_path, requires_text_packages):
    """Return the overrides of a run on 200 texts of 40 patients."""
    path = write_rows(tmp_path / "x.csv", make_rows(has_large_group=False))
    return [*QUICK_OVERRIDES, "model=tiny_text", "data=text_file", f"data.path={path}", "trainer.max_epochs=1", *FOLDS]


def evaluate_run(run_dir, *overrides):
    return evaluate.main(compose_config("evaluate", [f"run={run_dir}", *overrides]))


def test_evaluation_of_a_fold_has_the_samples_of_the_run_and_intervals_over_groups(overrides, tmp_path, capsys):
    trained = train.main(compose_config("train", [*overrides, "data.fold=3", f"output_dir={tmp_path}/run"]))
    capsys.readouterr()
    result = evaluate_run(tmp_path / "run")
    output = capsys.readouterr().out
    record = json.loads(next((tmp_path / "run").glob("evaluations/*/evaluation.json")).read_text())
    low, high = result["intervals"]["test/accuracy"]
    num_groups = len({patient for _, _, patient in make_rows(has_large_group=False)})

    assert result["metrics"] == {name: trained["metrics"][name] for name in result["metrics"]}
    assert set(result["intervals"]) == {"test/accuracy", "test/f1"}
    assert 0 <= low <= result["metrics"]["test/accuracy"] <= high <= 1
    assert record["intervals"] == result["intervals"]
    assert f"{result['metrics']['test/accuracy']!r} ({low:.4g} to {high:.4g})" in output
    assert "95 % confidence, from " in output
    assert " resampled groups" in output
    assert int(output.partition("95 % confidence, from ")[2].split()[0]) < num_groups
    assert "data has changed" not in output
    with pytest.raises(ConfigError, match=r"data.fold=2 differs from the training run \(data.fold=3\), whose"):
        evaluate_run(tmp_path / "run", "data.fold=2")
    with pytest.raises(ConfigError, match="Cannot change data.fold from 3 to 1 when resuming"):
        train.main(compose_config("train", [f"resume={tmp_path}/run", "trainer.max_epochs=2", "data.fold=1"]))


@pytest.mark.slow
def test_stopped_run_on_a_fold_resumes_on_the_same_samples(overrides, tmp_path):
    overrides = [*overrides, "data.fold=3", "trainer.log_every_n_steps=1", "trainer.limit_train_batches=1.0"]
    check_resume_matches_uninterrupted(tmp_path, overrides, [("train_batch_end", 3)])
    stopped, whole = (read_record(tmp_path / name) for name in ("stopped", "uninterrupted"))

    assert stopped["split_digests"] == whole["split_digests"]
    assert evaluate_run(tmp_path / "stopped")["metrics"] == evaluate_run(tmp_path / "uninterrupted")["metrics"]


@pytest.mark.slow
def test_sweep_over_folds_ends_with_mean_and_standard_deviation(overrides, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run_sweep = make_sweep_runner(monkeypatch, tmp_path, capsys, *overrides, *NO_PLOTS)
    code, output = run_sweep("data.num_folds=3", "data.fold=0,1,2")
    (sweep_dir,) = (tmp_path / "logs/sweep").iterdir()
    with (sweep_dir / "results.csv").open() as file:
        accuracies = [float(row["test/accuracy"]) for row in csv.DictReader(file)]
    with (sweep_dir / "statistics.csv").open() as file:
        (row,) = csv.DictReader(file)

    assert code == 0
    assert len(accuracies) == 3
    assert float(row["test/accuracy mean"]) == pytest.approx(sum(accuracies) / 3)
    assert (row["runs"], row["total"], row["test/accuracy n"]) == ("3", "3", "3")
    assert "Mean ± standard deviation over seeds and folds" in output


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.num_folds=1", "data.fold=0"],
            "data.num_folds: expected an integer of at least 2, got 1. Use",
        ),
        (["data.num_folds=5"], "data.num_folds=5 requires data.fold. Use e.g. data.fold=0, or train on all folds"),
        (
            ["data.num_folds=5", "data.fold=5"],
            r"data.fold: expected an integer from 0 to 4 \(data.num_folds=5\)",
        ),
        (["data.num_folds=5", "data.fold=-1"], "data.fold: expected an integer from 0 to 4"),
        (["data.fold=1"], "data.fold=1 requires data.num_folds. Use e.g. data.num_folds=5 data.fold=1."),
        (["data.num_folds=2.5", "data.fold=1"], "Invalid value for data.num_folds: expected"),
    ],
)
def test_invalid_folds_are_rejected_before_the_data_is_read(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(compose_config("train", ["data=image_folder", "model=torchvision", "output_dir=x", *overrides]))


def test_sweep_over_a_missing_fold_is_rejected_before_its_first_job():
    jobs = expand_jobs_or_corners(["data=image_folder", "model=torchvision", "data.num_folds=2", "data.fold=0,1,2"])

    with pytest.raises(ConfigError, match="data.fold: expected an integer from 0 to 1"):
        validate_jobs(SweepPlan(jobs))


def test_weights_of_a_run_on_another_fold_are_reported(overrides, tmp_path, capsys):
    train.main(compose_config("train", [*overrides, "data.fold=3", f"output_dir={tmp_path}/run"]))
    capsys.readouterr()
    file = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    for fold in (3, 1):
        cfg = compose_config("train", [*overrides, f"data.fold={fold}", "output_dir=unused"])
        data = build_datamodule(to_plain_dict(cfg))
        load_metadata(data)
        capsys.readouterr()
        warn_about_trained_samples(data, file)
        lines = [line for line in capsys.readouterr().out.splitlines() if "are training samples of" in line]
        assert len(lines) == (0 if fold == 3 else 2)  # one for each of val and test
    count, total = (int(word) for word in lines[1].split()[1:4:2])
    # The test samples of fold 1 are training samples of fold 3, except for those that are its validation samples.
    assert "test samples" in lines[1]
    assert 0.7 * total < count <= total
