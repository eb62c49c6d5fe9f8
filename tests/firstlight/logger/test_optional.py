"""A logger never ends a training run."""

import json
import os
import pickle

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger

from firstlight import train
from firstlight.logger import wandb_run
from firstlight.logger.optional import make_optional
from firstlight.logger.wandb_logger import OfflineFirstWandbLogger
from firstlight.run.exit_actions import run_exit_actions
from firstlight.trainer.loggers import build_optional_loggers
from support.options import get_tiny_model, make_tiny_overrides


class BrokenLogger(Logger):
    """A logger whose server stops responding after the first metrics."""

    def __init__(self):
        self.calls = []

    name = version = log_dir = "broken"

    def log_hyperparams(self, *args):
        self.calls.append("log_hyperparams")

    def log_metrics(self, metrics, step=None):
        self.calls.append("log_metrics")
        if len(self.calls) > 2:
            raise ConnectionError("server is gone")

    def finalize(self, status):
        raise AssertionError("not called after a failure")


def test_failed_logger_prints_one_line_and_logs_nothing_more(capsys):
    logger = BrokenLogger()
    make_optional(logger, "mine")
    logger.log_hyperparams({})
    for step in range(4):
        logger.log_metrics({}, step)
    logger.finalize("success")

    assert logger.calls == ["log_hyperparams", "log_metrics", "log_metrics"]
    warning = "Warning: logger.mine failed (ConnectionError: server is gone). The run continues without it.\n"
    assert capsys.readouterr().out == warning


def test_logger_can_be_pickled_for_workers(tmp_path):
    logger = CSVLogger(tmp_path)
    make_optional(logger, "csv")
    copy = pickle.loads(pickle.dumps(logger))

    assert copy.log_metrics.logger is copy


def test_logger_that_cannot_start_is_left_out(tmp_path, capsys):
    (tmp_path / "file").touch()
    target = "firstlight.logger.wandb_logger.OfflineFirstWandbLogger"
    loggers = build_optional_loggers({"logger": {"wandb": {"_target_": target, "save_dir": str(tmp_path / "file")}}})

    assert loggers == []
    assert capsys.readouterr().out.startswith("Warning: logger.wandb failed (FileExistsError")


def read_wandb_info(run_dir):
    return json.loads((run_dir / "run.json").read_text())["loggers"]["wandb"]


def make_overrides():
    return [override for override in make_tiny_overrides(get_tiny_model()) if override != "logger=none"]


def test_disabled_mode_trains_without_a_run(compose_cfg, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train.main(compose_cfg(*make_overrides(), "logger=wandb"))

    assert read_wandb_info(tmp_path / "run") == {"mode": "disabled", "reason": "as requested", "url": None}
    assert not list((tmp_path / "run").rglob("*.wandb"))
    assert "Warning" not in capsys.readouterr().out


def test_death_of_the_background_process_does_not_end_the_run(compose_cfg, tmp_path, monkeypatch, capsys):
    guard_run = wandb_run.guard_run

    def guard_and_break(run):
        def fail(record, **kwargs):
            raise ConnectionResetError("Connection lost")

        run._interface._publish = fail
        guard_run(run)

    monkeypatch.setattr("firstlight.logger.wandb_logger.guard_run", guard_and_break)
    train.main(compose_cfg(*make_overrides(), "logger=wandb"))

    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    warning = "Warning: W&B failed (ConnectionResetError: Connection lost). The run continues without it."
    assert capsys.readouterr().out.count(warning) == 1


def test_two_experiments_of_a_process_are_two_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_RUN_ID", "abcd1234")
    loggers = [OfflineFirstWandbLogger(str(tmp_path / name), mode="offline") for name in ("first", "second")]
    first, second = (logger.experiment.id for logger in loggers)
    loggers[0].log_metrics({"loss": torch.tensor(1.0)}, 0)
    run_exit_actions(tmp_path / "first", 0)
    loggers[1].log_metrics({"loss": torch.tensor(1.0)}, 0)  # the end of the first run has not ended this one
    run_exit_actions(tmp_path / "second", 0)

    assert first == "abcd1234" != second
    assert "Ignored WANDB_RUN_ID=abcd1234: it is the ID of an earlier run of this process." in capsys.readouterr().out
    for name, run_id in (("first", first), ("second", second)):
        assert len(list((tmp_path / name).glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb"))) == 1


def test_no_requested_id_prints_nothing(monkeypatch, capsys):
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)

    assert wandb_run.take_requested_id() == wandb_run.take_requested_id() == ""
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("variable", "key", "default"),
    [
        ("WANDB_PROJECT", "project", "firstlight"),
        ("WANDB_ENTITY", "entity", None),
        ("WANDB_NAME", "name", "shown"),
        ("WANDB_RUN_GROUP", "group", None),
        ("WANDB_JOB_TYPE", "job_type", "train"),
        ("WANDB_NOTES", "notes", None),
    ],
)
def test_variables_of_wandb_are_defaults_of_the_config(compose_cfg, monkeypatch, variable, key, default):
    monkeypatch.delenv(variable, raising=False)
    overrides = [*make_overrides(), "logger=wandb", "name=shown"]
    assert compose_cfg(*overrides).logger.wandb[key] in (default, "zephyr")
    monkeypatch.setenv(variable, "from_the_variable")

    assert compose_cfg(*overrides).logger.wandb[key] == "from_the_variable"
    assert compose_cfg(*overrides, f"logger.wandb.{key}=mine").logger.wandb[key] == "mine"
    assert variable in os.environ
