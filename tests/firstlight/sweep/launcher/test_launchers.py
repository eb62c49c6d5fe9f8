"""Sweeps whose jobs run side by side: by joblib, and by submitit without Slurm."""

import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from firstlight.config.options import CONFIG_DIR
from firstlight.run.record import acquire_run_lock
from firstlight.sweep import plan as sweep_plan
from firstlight.sweep.jobs import load_all_jobs
from firstlight.sweep.launcher.worker import run_on_assigned_gpu
from firstlight.sweep.plan import expand_jobs, make_plan, split_overrides, validate_jobs
from firstlight.sweep.results import collect_results
from support.doc_commands import pretend_cluster, validate_command
from support.options import list_options
from support.sweep_process import find_sweep_dir, read_statuses, run_sweep, start_sweep, wait_until

ROOT = Path(__file__).parents[4]


FILES = [*CONFIG_DIR.glob("launcher/*.yaml"), *CONFIG_DIR.glob("sweeper/*.yaml")]


@pytest.mark.parametrize("line", re.findall(r"make (sweep .+)", "\n".join(file.read_text() for file in FILES)))
def test_a_sweep_that_a_file_shows_composes(line, monkeypatch):
    pretend_cluster(monkeypatch)

    validate_command("sweep", ["model=tiny_images", *shlex.split(line)[1:]])


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in sweep_plan.SWEEP_GROUPS for name in list_options(group)]
)
def test_every_choice_of_a_sweep_composes(group, name, monkeypatch):
    monkeypatch.setattr(sweep_plan.shutil, "which", lambda name: name)
    monkeypatch.setattr(sweep_plan.importlib.metadata, "version", lambda name: "1")

    assert make_plan([f"{group}={name}"], ["model=tiny_images", "seed=0,1"]).num_jobs > 1


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        (["launcher=joblib", "launcher.n_jobs=0"], "launcher.n_jobs is 1 to 10,000, but launcher.n_jobs=0"),
        (["launcher=joblib", "launcher.n_jobs=two"], "launcher.n_jobs is int, but launcher.n_jobs='two'"),
        (["launcher=joblib", "launcher.n_job=2"], "There is no setting launcher.n_job: did you mean launcher.n_jobs?"),
        (["launcher=job"], "There is no launcher=job: did you mean launcher=joblib?"),
        (["launcher.n_jobs=2"], "launcher.n_jobs has no effect without a launcher"),
        (["sweeper.n_trials=2"], "sweeper.n_trials has no effect without a sweeper"),
        (["launcher=slurm", "launcher.mem_gb=0"], "launcher.mem_gb is 1 to 1,000,000"),
        (["launcher=slurm", "launcher.timeout_min=2"], "A job trains until signal_delay_s before its limit, but"),
        (
            ["launcher=slurm", "launcher.tasks_per_node=2"],
            "but launcher.tasks_per_node=2 and trainer.devices=1: give launcher.tasks_per_node=1",
        ),
    ],
)
def test_a_wrong_setting_of_a_sweep_is_refused_in_a_sentence(own, sentence, monkeypatch):
    monkeypatch.setattr(sweep_plan.shutil, "which", lambda name: name)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        validate_jobs(make_plan(own, ["model=tiny_images", "seed=0,1"]))


def test_slurm_that_is_not_here_is_told_before_a_folder_is_made(monkeypatch, tmp_path, capsys):
    from firstlight.sweep import __main__ as sweep

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["sweep", "launcher=slurm", "model=tiny_images", "seed=0,1"])
    with pytest.raises(SystemExit) as stop:
        sweep.main()

    assert stop.value.code == 1
    assert "launcher=slurm needs Slurm, but there is no sbatch on the PATH" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", ["launcher=joblib", "launcher=submitit_local", "sweeper=optuna"])
def test_a_package_that_is_not_installed_is_named(own, monkeypatch):
    def version(name):
        raise sweep_plan.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(sweep_plan.importlib.metadata, "version", version)
    with pytest.raises(ValueError, match=rf"{own} needs the package hydra-\S+, which is not installed: "):
        make_plan([own], ["model=tiny_images", "seed=0,1"])


def test_the_launcher_makes_no_other_sweep_and_is_no_setting_of_a_training():
    words = ["model=tiny_images", "seed=0,1", "launcher=joblib", "launcher.n_jobs=3"]
    own, rest = split_overrides(words)

    assert (own, rest) == (["launcher=joblib", "launcher.n_jobs=3"], ["model=tiny_images", "seed=0,1"])
    assert make_plan(own, rest).asked == make_plan([], rest).asked
    assert expand_jobs(words) == [["model=tiny_images", "seed=0"], ["model=tiny_images", "seed=1"]]


def test_a_launcher_of_a_training_is_told_where_it_belongs(monkeypatch, capsys):
    from firstlight import train

    monkeypatch.setattr(sys, "argv", ["train", "model=tiny_images", "launcher=slurm"])
    with pytest.raises(SystemExit):
        train.main()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    assert "train: launcher is a setting of sweeps: type `make sweep`, or leave it out" in capsys.readouterr().err


def test_jobs_that_never_began_and_jobs_that_were_killed_are_rows(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": [[f"seed={number}"] for number in range(4)]}))
    for number, status in enumerate(["finished", "running", "running"]):
        (tmp_path / f"{number}_seed-{number}").mkdir()
        record = {"status": status, "overrides": [f"seed={number}"]}
        (tmp_path / f"{number}_seed-{number}" / "run.json").write_text(json.dumps(record))
    with acquire_run_lock(tmp_path / "1_seed-1"):
        found = collect_results(tmp_path)

    assert [row["status"] for row in found] == ["finished", "running", "killed", "not started"]
    assert [row["seed"] for row in found] == ["0", "1", "2", "3"]
    assert len(load_all_jobs(tmp_path)) == 4


def test_processes_are_spread_over_the_gpus(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    seen = [
        run_on_assigned_gpu(lambda cfg: os.environ["CUDA_VISIBLE_DEVICES"], ["4", "6"], number, {})
        for number in range(3)
    ]

    assert seen == ["4", "6", "4"]


@pytest.mark.slow
def test_joblib_runs_two_jobs_at_once_and_a_failing_one_is_a_row(tmp_path):
    words = ["launcher=joblib", "launcher.n_jobs=2", "trainer.max_epochs=1,3,2"]
    code, told, folder = run_sweep(tmp_path, *words, FAULT="epochs>2:too long")

    assert code == 1
    assert read_statuses(folder) == ["finished", "failed", "finished"]
    assert "next      the same command goes on with what is left, 1 of 3 jobs" in told
    assert "Warning" not in told

    code, told, _ = run_sweep(tmp_path, "trainer.max_epochs=1,3,2")  # without the launcher it is the same sweep

    assert code == 0
    assert read_statuses(folder) == ["finished"] * 3
    assert told.count("is finished") == 2


@pytest.mark.slow
def test_a_job_that_is_killed_is_a_row(tmp_path):
    words = ["launcher=joblib", "launcher.n_jobs=2", "trainer.max_epochs=5,6,7"]
    code, told, folder = run_sweep(tmp_path, *words, FAULT="epochs>4:SIGKILL")

    assert code == 1
    assert "killed" in read_statuses(folder)
    assert set(read_statuses(folder)) <= {"killed", "running", "not started"}
    assert "a process of the sweep was killed" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_ctrl_c_lets_the_processes_of_joblib_save(tmp_path):
    process = start_sweep(
        tmp_path, "launcher=joblib", "launcher.n_jobs=2", "trainer.max_epochs=50,60,70", STEP_SECONDS="0.2"
    )
    wait_until(lambda: len(list(tmp_path.rglob("last.ckpt"))) == 2)
    os.killpg(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    folder = find_sweep_dir(tmp_path)

    assert process.returncode == 130
    assert read_statuses(folder) == ["interrupted", "interrupted", "not started"]
    assert told.count("asked to end: the step is finished and saved first") == 2


@pytest.mark.slow
def test_jobs_run_by_submitit_without_slurm(tmp_path):
    code, told, folder = run_sweep(
        tmp_path, "launcher=submitit_local", "trainer.max_epochs=1,3", FAULT="epochs>2:too long"
    )

    assert code == 1
    assert read_statuses(folder) == ["finished", "failed"]
    assert len(re.findall(r"^job [01]     \d+ ", told, re.M)) == 2
    outputs = "".join(file.read_text() for file in (folder / ".submitit").rglob("*_log.*"))
    assert "trainer.max_epochs=3" in outputs
    assert "Warning" not in outputs
