"""Sweeps: a run per combination, a table of all, and a failing job is a row."""

import csv
import json
import sys

import pytest

from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.sweep import __main__ as sweep
from firstlight.sweep.plan import expand_jobs
from support.options import get_tiny_model, make_tiny_overrides

FEW = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]


def swept(monkeypatch, folder, *words):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["sweep", *words])
    with pytest.raises(SystemExit) as stop:
        sweep.main()
    (sweep_folder,) = (folder / "logs" / "sweep").iterdir()
    with (sweep_folder / "results.csv").open() as file:
        return stop.value.code, sweep_folder, list(csv.DictReader(file))


@pytest.mark.slow
def test_every_combination_is_a_row(monkeypatch, tmp_path, capsys):
    words = [word for word in make_tiny_overrides(get_tiny_model()) if word != "data.batch_size=4"]
    words = [*words, *FEW, "optimizer.lr=0.01,0.02", "data.batch_size=2,4"]
    code, folder, rows = swept(monkeypatch, tmp_path, *words)
    told = capsys.readouterr().out

    assert code == 0
    assert [(row["optimizer.lr"], row["data.batch_size"]) for row in rows] == [
        ("0.01", "2"),
        ("0.01", "4"),
        ("0.02", "2"),
        ("0.02", "4"),
    ]
    assert {"finished"} == {row["status"] for row in rows}
    assert all(float(row["test/accuracy"]) >= 0 and float(row["samples/s"]) > 0 for row in rows)
    assert (folder / "results.png").is_file()
    assert "0_data.batch_size-2_optimizer.lr-0.01" in [path.name for path in folder.iterdir()]
    assert "4 jobs" in told
    assert "0.02" in told
    validate_config(compose_config("evaluate", [f"run={rows[3]['folder']}"]))  # the folder's name can be typed
    record = json.loads((tmp_path / rows[0]["folder"] / "run.json").read_text())
    assert float(rows[0]["test/accuracy"]) == record["metrics"]["test/accuracy"]


@pytest.mark.slow
def test_a_job_out_of_memory_is_a_row_and_the_others_go_on(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FAULT", "batch>4:MPS backend out of memory (MPS allocated: 9.00 GB, max allowed: 9.07 GB)")
    words = [word for word in make_tiny_overrides("tiny_faulty") if not word.startswith("data.batch_size")]
    code, _, rows = swept(monkeypatch, tmp_path, *words, *FEW, "data.batch_size=2,8,4")
    told = capsys.readouterr()

    assert code == 1
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"]
    assert [row["data.batch_size"] for row in rows if row["reason"].startswith("out of memory")] == ["8"]
    assert "out of memory with data.batch_size=8: try data.batch_size=4" in told.out


def test_two_sweeps_of_the_same_second_get_folders_of_their_own(tmp_path):
    folders = {sweep.make_timestamped_dir(tmp_path) for _ in range(5)}

    assert len(folders) == 5


@pytest.mark.parametrize(
    ("word", "swept"),
    [("a=1,2", True), ("a=[1,2]", False), ("a=[1,2],[3]", True), ("a=range(1,5)", True), ("a=1", False), ("a=", False)],
)
def test_a_list_in_brackets_is_one_value(word, swept):
    assert swept == sweep.is_sweep_override(word)


def test_jobs_over_paths_are_called_by_their_number():
    assert sweep.make_job_naming_overrides(["data.root=a/b,c/d"]) == ["hydra.sweep.subdir=${hydra.job.num}"]


def test_experiments_can_be_swept():
    assert len(expand_jobs(["model=tiny_images", "experiment=smoke,overfit"])) == 2


def test_a_stored_sweep_is_expanded():
    jobs = expand_jobs(["model=tiny_images", "experiment=batch_size_sweep", "seed=1,2"])

    assert len(jobs) == 8
    assert sorted(jobs[0]) == ["data.batch_size=8", "experiment=batch_size_sweep", "model=tiny_images", "seed=1"]
