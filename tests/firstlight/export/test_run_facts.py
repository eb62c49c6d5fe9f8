"""Tests of the results on a model card: only an evaluation of the exported checkpoint on all samples counts."""

import shutil

import pytest

from firstlight.export.run_facts import find_results, load_record
from support.runs import write_checkpoint, write_evaluation, write_trained_run


def test_newest_test_evaluation_comes_before_the_test_of_the_training(tmp_path):
    checkpoint = write_trained_run(tmp_path / "run")
    intervals = {"test/accuracy": [0.4, 0.62], "test/loss": None}
    evaluations = tmp_path / "run" / "evaluations"
    write_evaluation(evaluations / "2026-11-22_10-00-00", tmp_path / "run", 0.3)
    write_evaluation(evaluations / "2026-11-22_10-00-01", tmp_path / "run", 0.5, intervals=intervals)
    write_evaluation(evaluations / "2026-11-22_10-00-02", tmp_path / "run", metrics={"val/accuracy": 0.7}, split="val")
    write_evaluation(evaluations / "2026-11-22_10-00-03", tmp_path / "run", 0.9, checkpoint_hash="0" * 16)
    results = find_results(*load_record(checkpoint), checkpoint)

    assert results.metrics == {"accuracy": 0.5}
    assert results.intervals == {"accuracy": (0.4, 0.62)}
    assert results.num_samples == 15


@pytest.mark.parametrize(
    ("fields", "accuracy"),
    [
        ({"overrides": ["data.batch_size=2"]}, 0.5),
        ({"overrides": ["trainer.limit_test_batches=1.0"]}, 0.5),
        ({"total_samples": 15}, 0.5),
        ({"total_samples": 16}, 0.9),
        ({"checkpoint_hash": "0123456789abcdef"}, 0.9),
        ({"checkpoint_hash": None}, 0.9),
        ({"command": "predict"}, 0.9),
        ({"overrides": ["trainer.limit_test_batches=2"]}, 0.9),
        ({"overrides": ["++trainer.overfit_batches=0.1"]}, 0.9),
        ({"overrides": ["+trainer.fast_dev_run=true"]}, 0.9),
    ],
)
def test_evaluations_of_other_checkpoints_and_of_a_part_of_the_data_do_not_count(fields, accuracy, tmp_path):
    checkpoint = write_trained_run(tmp_path / "run")
    write_evaluation(tmp_path / "run" / "evaluations" / "2026-11-22_10-00-00", tmp_path / "run", 0.5, **fields)

    assert find_results(*load_record(checkpoint), checkpoint).metrics["accuracy"] == accuracy


def test_results_of_another_checkpoint_are_not_shown(tmp_path):
    write_trained_run(tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    write_checkpoint(last, "last")

    assert find_results(*load_record(str(last)), str(last)) is None


def test_evaluation_counts_in_a_copied_run_until_the_checkpoint_changes(tmp_path):
    write_trained_run(tmp_path / "run", status="interrupted")
    write_evaluation(tmp_path / "run" / "evaluations" / "2026-11-22_10-00-00", tmp_path / "run", 0.5)
    copied = shutil.copytree(tmp_path / "run", tmp_path / "copied", copy_function=shutil.copyfile)
    checkpoint = str(copied / "checkpoints" / "best.ckpt")

    assert find_results(*load_record(checkpoint), checkpoint).metrics == {"accuracy": 0.5}
    write_checkpoint(copied / "checkpoints" / "best.ckpt", "resumed")
    assert find_results(*load_record(checkpoint), checkpoint) is None


def test_test_metrics_of_an_earlier_attempt_do_not_count(tmp_path):
    checkpoint = write_trained_run(tmp_path / "run", tested=False)

    assert find_results(*load_record(checkpoint), checkpoint) is None


def test_test_split_comes_before_other_splits(tmp_path):
    checkpoint = write_trained_run(tmp_path / "run")
    directory = tmp_path / "run" / "evaluations" / "2026-11-22_10-00-00"
    write_evaluation(directory, tmp_path / "run", split="train", metrics={"train/accuracy": 1.0})
    results = find_results(*load_record(checkpoint), checkpoint)

    assert (results.split, results.metrics["accuracy"], results.num_samples) == ("test", 0.9, 15)


@pytest.mark.parametrize("limit", [{"limit_test_batches": 2}, {"overfit_batches": 1}, {"fast_dev_run": True}])
def test_test_of_the_training_on_a_part_of_the_data_does_not_count(limit, tmp_path):
    checkpoint = write_trained_run(tmp_path / "run")
    record = load_record(checkpoint)

    assert find_results(*record, checkpoint, {"limit_test_batches": 1.0, "overfit_batches": 0}).split == "test"
    assert find_results(*record, checkpoint, limit) is None
