"""Each file of a run may be truncated at any byte, for example by a power cut: the run is resumed nevertheless."""

import os
import random
import shutil
from pathlib import Path

import pytest

from firstlight import train
from firstlight.config.compose import compose_config, find_latest_unfinished_run
from firstlight.logger.metrics_csv import read_complete_rows
from support.interruption import SMALL_OVERRIDES, SignalSender, read_record, train_model

NAMES = ["run.json", "config.yaml", "metrics.csv", "best.json", "output.log", "checkpoints/best.ckpt"]
NAMES += ["checkpoints/last.ckpt"]
FALLBACKS = {
    "run.json": "run.json is corrupt or missing. Its earlier attempts are lost.",
    "config.yaml": "Using the config stored in last.ckpt.",
    "metrics.csv": "metrics.csv is truncated or damaged. Dropped ",
    "checkpoints/best.ckpt": "The best checkpoint is chosen again among the remaining epochs.",
    "checkpoints/last.ckpt": "Resuming from best.ckpt.",
}


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """Return the directory of a run that was stopped in its third epoch."""
    run_dir = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(SystemExit):
        train_model([*SMALL_OVERRIDES, f"output_dir={run_dir}"], SignalSender(("train_batch_end", 9)))
    return run_dir


def resume_truncated(stopped_run, run_dir, name, size, *overrides):
    """Truncate a file of a copy of the run, and resume it."""
    shutil.copytree(stopped_run, run_dir)
    os.truncate(run_dir / name, size)
    train.main(compose_config("train", [f"resume={run_dir}", *overrides]))
    assert read_record(run_dir)["status"] == "finished"
    assert {path.name for path in (run_dir / "checkpoints").glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


@pytest.mark.parametrize("name", FALLBACKS)
def test_truncated_file_has_a_fallback_that_is_named(stopped_run, tmp_path, name, capsys):
    resume_truncated(stopped_run, tmp_path / "run", name, (stopped_run / name).stat().st_size // 2)

    assert FALLBACKS[name] in capsys.readouterr().out


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NAMES)
def test_file_truncated_at_many_bytes(stopped_run, tmp_path, name):
    size = (stopped_run / name).stat().st_size
    for end in {0, 1, size - 1, *random.Random(0).sample(range(size), min(size, 20))}:
        resume_truncated(stopped_run, tmp_path / str(end), name, end, "test=true")


def test_best_and_last_checkpoint_are_separate_files(tmp_path):
    train_model([*SMALL_OVERRIDES, "trainer.max_epochs=1", f"output_dir={tmp_path}"], SignalSender())
    best, last = (tmp_path / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))

    assert best.read_bytes() == last.read_bytes()
    assert not best.samefile(last)


def test_run_without_config_or_run_json_is_found(stopped_run, tmp_path):
    shutil.copytree(stopped_run, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").unlink()
    (tmp_path / "run" / "run.json").write_text("")

    assert find_latest_unfinished_run(tmp_path) == tmp_path / "run"
    assert compose_config("train", [f"resume={tmp_path / 'run'}"]).model._target_.endswith("TinyMLP")


ROWS = "epoch,step,train/loss\r\n0,1,0.25\r\n0,12,\r\n"


@pytest.mark.parametrize("end", range(len(ROWS) + 1))
def test_metrics_csv_truncated_at_any_byte_has_complete_rows_only(tmp_path, end):
    (tmp_path / "metrics.csv").write_bytes(ROWS.encode()[:end])
    rows, num_invalid = read_complete_rows(tmp_path / "metrics.csv")
    expected = [{"epoch": "0", "step": "1", "train/loss": "0.25"}, {"epoch": "0", "step": "12", "train/loss": ""}]
    num_rows = max(ROWS[:end].count("\n") - 1, 0)

    assert rows == expected[:num_rows]
    assert num_invalid == (end > 0 and ROWS[end - 1] != "\n")


@pytest.mark.parametrize("line", ["0,x,0.5", "0,3", "0,3,0.5,7", "\0,3,0.5", "0,3,abc", "\ufffd"])
def test_invalid_rows_of_metrics_csv_are_dropped(tmp_path, line):
    (tmp_path / "metrics.csv").write_bytes(f"{ROWS}{line}\r\n1,13,0.5\r\n".encode())
    rows, num_invalid = read_complete_rows(Path(tmp_path / "metrics.csv"))

    assert [row["step"] for row in rows] == ["1", "12", "13"]
    assert num_invalid == 1
