"""A run with anything that Lightning and torch offer, stopped at any moment and resumed, equals an undisturbed run."""

import pytest

from firstlight.run.errors import CheckpointError
from support.resume_matrix import BASE, MOMENTS, TEXT_BASE, check_row, train_with_stops
from support.resume_rows import PLAIN_ROWS, REJECTED_ROWS, TASK_ROWS, TEXT_ROWS, make_overrides

QUICK = [
    ("plain_finetuned", "EMAWeightAveraging", "validation"),
    ("plain_finetuned", "EMA from step 9", "inside a window"),
    ("plain_finetuned", "StochasticWeightAveraging", "last validation"),
    ("plain_finetuned", "StochasticWeightAveraging", "final test"),
    ("plain_finetuned", "GradientAccumulationScheduler", "inside a window"),
    ("plain_finetuned", "EarlyStopping on training", "validation"),
    ("plain_finetuned", "BackboneFinetuning", "inside a window"),
    ("plain_finetuned", "ReduceLROnPlateau on training", "end of an epoch"),
    ("plain_finetuned", "own plateau epoch 1", "inside a window"),
    ("plain_finetuned", "max_steps=21", "final test"),
    ("task", "overfit_batches=3", "first step"),
    ("task", "accumulate 4, val_check_interval=2", "twice"),
    ("task", "defaults", "end of training"),
    ("task", "val_check_interval=9 across epochs", "end of a window"),
]
ROWS = {"plain_finetuned": PLAIN_ROWS, "task": TASK_ROWS}
MODELS = {"plain_finetuned": "plain_finetuned", "task": "tiny_mlp"}


def get_overrides(kind, row):
    """Return the overrides of a row."""
    dropout = ["model.dropout=0.5"] if kind == "task" else []
    return make_overrides(MODELS[kind], [*BASE, *dropout, *ROWS[kind][row]])


@pytest.mark.parametrize(
    ("kind", "row", "moment"),
    [pytest.param(*case, marks=[pytest.mark.slow] if index % 3 else []) for index, case in enumerate(QUICK)],
)
def test_resumed_run_equals_undisturbed_run(kind, row, moment, tmp_path):
    assert check_row(tmp_path, get_overrides(kind, row), [moment]) == []


@pytest.mark.slow
@pytest.mark.parametrize("moments", [["inside a window"], ["each epoch"]])
def test_resumed_run_with_all_switches_equals_undisturbed_run(moments, tmp_path):
    assert check_row(tmp_path, get_overrides("task", "all switches"), moments) == []


@pytest.mark.slow
@pytest.mark.parametrize("row", TEXT_ROWS)
def test_resumed_run_with_adapters_equals_undisturbed_run(row, tmp_path):
    pytest.importorskip("transformers", reason="the extra text is not installed")
    pytest.importorskip("peft", reason="the extra lora is not installed")
    assert check_row(tmp_path, [*TEXT_BASE, *TEXT_ROWS[row]], ["twice"]) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "row"), [(kind, row) for kind, rows in ROWS.items() for row in rows])
def test_resumed_run_equals_undisturbed_run_at_every_moment(kind, row, tmp_path):
    assert check_row(tmp_path, get_overrides(kind, row), list(MOMENTS)) == []


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[] if row == "ModelPruning" else pytest.mark.exhaustive) for row in REJECTED_ROWS]
)
def test_resuming_with_inexact_callback_raises(row, tmp_path, capsys):
    overrides = make_overrides("plain_finetuned", [*BASE, *REJECTED_ROWS[row]])
    with pytest.raises(CheckpointError, match=rf"Cannot resume a run with the callback {row.split()[0]}: .*new run\."):
        train_with_stops(tmp_path, overrides, MOMENTS["end of an epoch"])

    assert f"resume    not possible with {row.split()[0]}: " in capsys.readouterr().out
