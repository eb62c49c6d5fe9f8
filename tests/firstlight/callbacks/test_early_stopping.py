"""Early stopping: the epoch computed by hand from a series of metrics, and the state of a resumed run."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from firstlight import train
from firstlight.callbacks.early_stopping import AutoEarlyStopping
from firstlight.config.compose import compose_config
from firstlight.run.errors import CheckpointError, ConfigError
from support.interruption import read_record
from support.tiny_training import NO_PLOTS, OVERRIDES

RUN = [*OVERRIDES, *NO_PLOTS, "trainer.max_epochs=9", "test=false", "callbacks.early_stopping.patience=2"]


def make_trainer(names=("val/loss",)):
    """Return what the callback uses of a trainer."""
    results = {name: SimpleNamespace(meta=SimpleNamespace(name=name, on_epoch=True)) for name in names}
    return SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        sanity_checking=False,
        fast_dev_run=False,
        should_stop=False,
        current_epoch=0,
        global_step=0,
        min_epochs=None,
        min_steps=None,
        is_global_zero=True,
        enable_validation=True,
        val_check_interval=1.0,
        check_val_every_n_epoch=1,
        callback_metrics={},
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, **kwargs: decision),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=SimpleNamespace(_results=results))),
    )


def find_stop(callback, series, trainer=None, name="val/loss", start=0):
    """Return the epoch, from 0, after which a series of metrics stops the run; None: it does not."""
    trainer = trainer or make_trainer([name])
    callback.setup(trainer, None, "fit")
    for epoch, value in enumerate(series, start):
        trainer.current_epoch, trainer.callback_metrics = epoch, {name: torch.tensor(value)}
        callback.on_train_epoch_end(trainer, None)
        if trainer.should_stop:
            return epoch
    return None


@pytest.mark.parametrize(
    ("settings", "name", "series", "expected"),
    [
        # The best loss is that of epoch 1; epochs 2 and 3 are worse.
        ({"patience": 2}, "val/loss", [1.0, 0.5, 0.6, 0.7, 0.1], 3),
        # Epoch 3 is the best, so that the count starts again.
        ({"patience": 2}, "val/loss", [1.0, 0.5, 0.6, 0.4, 0.5, 0.45, 0.1], 5),
        # An accuracy is better if it is higher.
        ({"patience": 2}, "val/accuracy", [0.1, 0.5, 0.4, 0.3, 0.9], 3),
        ({"patience": 2}, "val/accuracy", [0.1, 0.2, 0.3, 0.4], None),
        # 0.95 and 0.91 differ from 1.0 by less than 0.1; 0.85 differs by more.
        ({"patience": 3, "min_delta": 0.1}, "val/loss", [1.0, 0.95, 0.91, 0.85, 0.8, 0.8, 0.8], 6),
        ({"patience": 2, "min_delta": 0.1}, "val/accuracy", [0.5, 0.55, 0.59, 0.9], 2),
        ({"patience": 1, "monitor": "val/rate", "mode": "max"}, "val/rate", [0.5, 0.6, 0.6], 2),
    ],
)
def test_stops_at_the_epoch_computed_by_hand(settings, name, series, expected):
    assert find_stop(AutoEarlyStopping(**settings), series, name=name) == expected


@pytest.mark.parametrize("resumed_at", range(1, 5))
def test_count_survives_a_resume(resumed_at):
    series = [0.3, 0.5, 0.6, 0.55, 0.52, 0.9]
    name = "val/accuracy"
    first, second = (AutoEarlyStopping(patience=3, min_delta=0.05) for _ in range(2))
    assert find_stop(first, series[:resumed_at], name=name) is None
    second.load_state_dict(first.state_dict())

    # 0.6 is the best. 0.55 and 0.52 are not better, and 0.9 ends the count.
    assert find_stop(second, series[resumed_at:], name=name, start=resumed_at) is None
    assert find_stop(second, [0.9, 0.8, 0.7], name=name, start=6) == 8


def test_run_stops_and_is_finished(tmp_path, capsys):
    train.main(compose_config("train", [*RUN, "callbacks.early_stopping.min_delta=99", f"output_dir={tmp_path}"]))
    output = capsys.readouterr().out

    assert "stopped   after epoch 3: val/accuracy has not improved by more than 99 in 2 checks (best " in output
    assert "epoch 4" not in output
    assert read_record(tmp_path)["status"] == "finished"
    with pytest.raises(CheckpointError, match="has already finished. To train longer"):
        compose_config("train", [f"resume={tmp_path}"])


def test_message_names_the_epoch_after_which_the_run_ends(tmp_path, capsys):
    stop = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=99"]
    run = [*RUN, *stop, "+trainer.min_epochs=3", f"output_dir={tmp_path}"]
    train.main(compose_config("train", run))
    output = capsys.readouterr().out

    # Epoch 2 is the first check without an improvement, but the training continues until min_epochs.
    assert output.count("stopped  ") == 1
    assert "stopped   after epoch 3: val/accuracy has not improved by more than 99 in 2 checks (best " in output


@pytest.mark.parametrize(("series", "expected"), [([1.0, 2.0, 0.5, 0.6, 0.7, 0.8, 0.1], 4), ([3.0, 3.0, 3.0, 3.0], 3)])
def test_improvement_before_min_epochs_counts(series, expected):
    callback, trainer = AutoEarlyStopping(patience=2, monitor="val/loss"), make_trainer()
    trainer.min_epochs = 4

    assert find_stop(callback, series, trainer) == expected
    assert callback.reason == f"val/loss has not improved in {callback.wait_count} checks (best {min(series[:5]):.4g})"


def test_training_metric_is_checked_without_validation(tmp_path, capsys):
    stop = ["callbacks.early_stopping.monitor=train/loss", "callbacks.early_stopping.min_delta=99"]
    rare = ["trainer.limit_val_batches=0", "trainer.check_val_every_n_epoch=2", f"output_dir={tmp_path}"]
    train.main(compose_config("train", [*RUN, *stop, *rare]))

    assert "stopped   after epoch 3: train/loss has not improved" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["callbacks.early_stopping.monitor=val/los", "callbacks.early_stopping.mode=min"],
            r"callbacks\.early_stopping\.monitor=val/los was not logged\. Use one of the logged metrics: val/.*loss",
        ),
        (["trainer.limit_val_batches=0"], r"patience=2 has no effect, because the run has no validation\. Set"),
        (["callbacks.early_stopping.monitor=val/rate"], r"The direction of .*monitor=val/rate is unknown\. Set"),
    ],
)
def test_missing_metric_is_one_line(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train.main(compose_config("train", [*RUN, *overrides, f"output_dir={tmp_path}"]))


def test_ambiguous_metric_is_one_line():
    trainer = make_trainer(["val/x", "val/y"])
    trainer.callback_metrics = {"val/x": torch.tensor(1.0), "val/y": torch.tensor(1.0)}
    callback = AutoEarlyStopping(patience=1)
    callback.setup(trainer, None, "fit")

    with pytest.raises(
        ConfigError, match=r"patience=1 has no unique metric: the validation metrics are val/x, val/y\."
    ):
        callback.on_train_epoch_end(trainer, None)
