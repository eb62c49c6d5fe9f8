"""Tests of the directories of evaluations: never a file of the run, and never a directory with other files."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from firstlight.run.errors import ConfigError
from firstlight.run.evaluation import open_evaluation


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")


def make_config(**settings):
    return OmegaConf.create(
        {"run": "run", "output_dir": "auto", "command": "evaluate", "data": {"root": "x"}, **settings}
    )


def evaluate_once(checkpoint="run/checkpoints/best.ckpt", **settings) -> Path:
    """Write one evaluation; return its directory."""
    cfg = make_config(**settings)
    with open_evaluation(cfg, checkpoint) as record:
        assert cfg.output_dir == str(record.directory)
        record.write(metrics={"test/loss": 1.0})
    return record.directory


def test_evaluations_of_one_second_get_separate_directories():
    directories = {evaluate_once() for _ in range(3)}

    assert len(directories) == 3
    assert {directory.parent for directory in directories} == {Path("run/evaluations")}


def test_record_has_checkpoint_data_and_metrics():
    record = json.loads((evaluate_once() / "evaluation.json").read_text())

    assert record["run"] == str(Path("run").resolve())
    assert record["checkpoint"] == "run/checkpoints/best.ckpt"
    assert record["data"] == {"root": "x"}
    assert record["metrics"] == {"test/loss": 1.0}


def test_checkpoint_in_a_run_is_evaluated_in_that_run():
    assert evaluate_once(run=None).parent == Path("run/evaluations")


def test_single_checkpoint_is_evaluated_in_logs():
    assert evaluate_once("elsewhere/copy.ckpt", run=None).name.startswith("copy_")
    assert not Path("elsewhere").exists()


def put_file(run_dir: Path):
    (run_dir / "evaluations").write_text("mine")


def put_link(run_dir: Path):
    (run_dir.parent / "mine").mkdir()
    (run_dir / "evaluations").symlink_to(run_dir.parent / "mine")


@pytest.mark.parametrize("prevent", [put_file, put_link])
def test_run_that_cannot_be_written_is_evaluated_in_logs(prevent, tmp_path):
    prevent(tmp_path / "run")
    directory = evaluate_once()

    assert directory.parent == Path("logs/evaluate")
    assert directory.name.startswith("run_")
    assert not list(tmp_path.glob("mine/*"))


def test_file_system_without_write_access_is_evaluated_in_logs():
    assert evaluate_once(run="/proc/self/fdinfo").parent == Path("logs/evaluate")


def test_chosen_directory_is_used():
    Path("empty").mkdir()

    assert evaluate_once(output_dir="new/results") == Path("new/results")
    assert evaluate_once(output_dir="empty") == Path("empty")
    assert not Path("run/evaluations").exists()


def test_occupied_directory_is_rejected_and_unchanged():
    first = evaluate_once()
    for taken in (str(first), "run", "run/run.json"):
        before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
        with pytest.raises(ConfigError, match="is not empty|is not a directory"):
            evaluate_once(output_dir=taken)
        assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.mark.parametrize("output_dir", ["auto", "parent/new", "parent/empty"])
def test_failed_evaluation_leaves_no_empty_directory(output_dir):
    Path("parent/empty").mkdir(parents=True)
    with pytest.raises(KeyError), open_evaluation(make_config(output_dir=output_dir), "run/checkpoints/best.ckpt"):
        raise KeyError
    assert not Path("run/evaluations").exists()
    assert not Path("parent/new").exists()
    assert Path("parent").is_dir()
