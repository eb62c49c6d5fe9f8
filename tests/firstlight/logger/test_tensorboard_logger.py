"""TensorBoard's files of a resumed run, and a directory that cannot be written."""

import pytest

from firstlight.logger.tensorboard_logger import ResumableTensorBoardLogger
from firstlight.trainer.loggers import build_optional_loggers
from support.tracked_runs import read_tensorboard, read_tensorboard_server, require

pytestmark = [pytest.mark.slow, require("tensorboard")]
TARGET = f"{ResumableTensorBoardLogger.__module__}.{ResumableTensorBoardLogger.__qualname__}"


def test_metrics_after_the_checkpoint_are_replaced(tmp_path):
    first = ResumableTensorBoardLogger(str(tmp_path))
    for step in range(6):
        first.log_metrics({"loss": step}, step)
    first.log_metrics({"val": 0.25}, 3)
    first.finalize("success")
    # The checkpoint contains step 3, but not its validation.
    second = ResumableTensorBoardLogger(str(tmp_path))
    second.log_hyperparams({"lr": 0.1})
    second.continue_at(3, [{"loss": 3}])
    second.log_metrics({"val": 0.5}, 3)
    second.log_metrics({"loss": 40}, 4)
    second.finalize("success")

    expected = {"loss": [(0, 0), (1, 1), (2, 2), (3, 3), (4, 40)], "val": [(3, 0.5)]}
    assert read_tensorboard(tmp_path) == expected
    assert read_tensorboard_server(tmp_path) == expected


def test_directory_that_cannot_be_written_does_not_end_the_run(tmp_path, capsys):
    (tmp_path / "file").touch()
    node = {"_target_": TARGET, "save_dir": str(tmp_path / "file")}
    (logger,) = build_optional_loggers({"logger": {"tensorboard": node}})
    logger.log_metrics({"loss": 1.0}, 0)

    output = capsys.readouterr().out
    assert output.startswith("Warning: logger.tensorboard failed (")
    assert output.count("Warning") == 1
