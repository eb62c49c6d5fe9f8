"""Sweeps whose jobs run in parallel: with joblib, and with submitit without Slurm."""

import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from firstlight.config.options import CONFIG_DIR
from firstlight.run.errors import ConfigError, MissingPackageError
from firstlight.run.lock import acquire_run_lock
from firstlight.sweep import plan as sweep_plan
from firstlight.sweep.jobs import load_all_jobs
from firstlight.sweep.launcher.worker import run_on_assigned_gpu
from firstlight.sweep.plan import expand_jobs_or_corners, make_plan, split_sweep_and_job_overrides, validate_jobs
from firstlight.sweep.results import collect_results
from support.doc_commands import pretend_cluster, validate_command
from support.options import list_options
from support.sweep_process import find_sweep_dir, read_statuses, run_sweep, start_sweep, wait_until

CONFIG_FILES = [*CONFIG_DIR.glob("launcher/*.yaml"), *CONFIG_DIR.glob("sweeper/*.yaml")]
DOCUMENTED_COMMANDS = re.findall(r"make (sweep .+)", "\n".join(file.read_text() for file in CONFIG_FILES))
JOBS = ["model=tiny_images", "seed=0,1"]


@pytest.mark.parametrize("command", DOCUMENTED_COMMANDS)
def test_commands_in_config_comments_are_valid(command, monkeypatch):
    pretend_cluster(monkeypatch)

    validate_command("sweep", ["model=tiny_images", *shlex.split(command)[1:]])


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in sweep_plan.SWEEP_GROUPS for name in list_options(group)]
)
def test_every_launcher_and_sweeper_composes(group, name, monkeypatch):
    monkeypatch.setattr(sweep_plan.shutil, "which", lambda name: name)
    monkeypatch.setattr(sweep_plan.importlib.metadata, "version", lambda name: "99")

    assert make_plan([f"{group}={name}"], JOBS).num_jobs > 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["launcher=joblib", "launcher.n_jobs=0"],
            "Invalid value for launcher.n_jobs: expected a value between 1 and 10,000, got 0.",
        ),
        (
            ["launcher=joblib", "launcher.n_jobs=two"],
            "Invalid value for launcher.n_jobs: expected an integer, got 'two'.",
        ),
        (["launcher=joblib", "launcher.n_job=2"], "Unknown setting 'launcher.n_job'. Did you mean 'launcher.n_jobs'?"),
        (["launcher=job"], "Unknown option launcher=job. Did you mean launcher=joblib?"),
        (["launcher.n_jobs=2"], "launcher.n_jobs requires a launcher. Use launcher=<option> (see configs/launcher)."),
        (["sweeper.n_trials=2"], "sweeper.n_trials requires a sweeper. Use sweeper=<option> (see configs/sweeper)."),
        (
            ["launcher=slurm", "launcher.mem_gb=0"],
            "Invalid value for launcher.mem_gb: expected a value between 1 and 1,000,000, got 0.",
        ),
        (
            ["launcher=slurm", "launcher.timeout_min=2"],
            "launcher.signal_delay_s=120 leaves no training time within launcher.timeout_min=2.",
        ),
        (
            ["launcher=slurm", "launcher.tasks_per_node=2"],
            "launcher.tasks_per_node=2 does not match trainer.devices=1. Set launcher.tasks_per_node=1.",
        ),
    ],
)
def test_invalid_launcher_or_sweeper_setting_is_rejected(overrides, message, monkeypatch):
    monkeypatch.setattr(sweep_plan.shutil, "which", lambda name: name)
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate_jobs(make_plan(overrides, JOBS))


def test_missing_slurm_is_reported_before_a_directory_is_created(monkeypatch, tmp_path, capsys):
    from firstlight.sweep import __main__ as sweep

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["sweep", "launcher=slurm", *JOBS])
    with pytest.raises(SystemExit) as stop:
        sweep.main()

    assert stop.value.code == 1
    assert "launcher=slurm requires Slurm, but sbatch was not found on PATH." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "package"),
    [
        ("launcher=joblib", "hydra-joblib-launcher"),
        ("launcher=submitit_local", "hydra-submitit-launcher"),
        ("sweeper=optuna", "optuna"),
    ],
)
def test_missing_package_is_named(option, package, monkeypatch):
    def raise_not_found(name):
        raise sweep_plan.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(sweep_plan.importlib.metadata, "version", raise_not_found)
    with pytest.raises(
        MissingPackageError, match=rf"^{option} requires the '{package}' package, which is not installed"
    ):
        make_plan([option], JOBS)


def test_launcher_does_not_change_identity_or_jobs_of_sweep():
    overrides = [*JOBS, "launcher=joblib", "launcher.n_jobs=3"]
    sweep_overrides, job_overrides = split_sweep_and_job_overrides(overrides)

    assert (sweep_overrides, job_overrides) == (["launcher=joblib", "launcher.n_jobs=3"], JOBS)
    assert make_plan(sweep_overrides, job_overrides).identity == make_plan([], job_overrides).identity
    assert expand_jobs_or_corners(overrides) == [["model=tiny_images", "seed=0"], ["model=tiny_images", "seed=1"]]


def test_train_rejects_launcher(monkeypatch, capsys):
    from firstlight import train

    monkeypatch.setattr(sys, "argv", ["train", "model=tiny_images", "launcher=slurm"])
    with pytest.raises(SystemExit):
        train.main()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    assert (
        "train: 'launcher' is only valid for sweeps. Run `make sweep`, or remove launcher." in capsys.readouterr().err
    )


def test_results_contain_killed_and_pending_jobs(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": [[f"seed={number}"] for number in range(4)]}))
    for number, status in enumerate(["finished", "running", "running"]):
        (tmp_path / f"{number}_seed-{number}").mkdir()
        record = {"status": status, "overrides": [f"seed={number}"]}
        (tmp_path / f"{number}_seed-{number}" / "run.json").write_text(json.dumps(record))
    with acquire_run_lock(tmp_path / "1_seed-1"):
        rows = collect_results(tmp_path)

    assert [row["status"] for row in rows] == ["finished", "running", "killed", "not started"]
    assert [row["seed"] for row in rows] == ["0", "1", "2", "3"]
    assert len(load_all_jobs(tmp_path)) == 4


def test_processes_are_assigned_to_gpus_round_robin(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    gpus = [
        run_on_assigned_gpu(lambda cfg: os.environ["CUDA_VISIBLE_DEVICES"], ["4", "6"], index, {}) for index in range(3)
    ]

    assert gpus == ["4", "6", "4"]


@pytest.mark.slow
def test_joblib_runs_jobs_in_parallel_and_lists_failed_job(tmp_path):
    overrides = ["launcher=joblib", "launcher.n_jobs=2", "trainer.max_epochs=1,3,2"]
    code, output, sweep_dir = run_sweep(tmp_path, *overrides, FAULT="epochs>2:too long")

    assert code == 1
    assert read_statuses(sweep_dir) == ["finished", "failed", "finished"]
    assert "1 of 3 jobs remaining. Run the same command again to continue." in output
    assert "Warning" not in output

    code, output, _ = run_sweep(tmp_path, "trainer.max_epochs=1,3,2")  # The same sweep without the launcher.

    assert code == 0
    assert read_statuses(sweep_dir) == ["finished"] * 3
    assert output.count("already finished, skipped") == 2


@pytest.mark.slow
def test_killed_job_is_listed_as_killed(tmp_path):
    overrides = ["launcher=joblib", "launcher.n_jobs=2", "trainer.max_epochs=5,6,7"]
    code, output, sweep_dir = run_sweep(tmp_path, *overrides, FAULT="epochs>4:SIGKILL")

    assert code == 1
    assert "killed" in read_statuses(sweep_dir)
    assert set(read_statuses(sweep_dir)) <= {"killed", "running", "not started"}
    assert "A sweep process was killed" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_joblib_jobs_save_on_ctrl_c(tmp_path):
    process = start_sweep(
        tmp_path, "launcher=joblib", "launcher.n_jobs=2", "trainer.max_epochs=50,60,70", STEP_SECONDS="0.2"
    )
    wait_until(lambda: len(list(tmp_path.rglob("last.ckpt"))) == 2)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert read_statuses(find_sweep_dir(tmp_path)) == ["interrupted", "interrupted", "not started"]
    assert output.count("Stop requested: finishing this step and saving a checkpoint.") == 2


def list_processes(directory):
    """Return the IDs of the processes whose working directory is a directory."""
    links = {int(link.parent.name): link for link in Path("/proc").glob("[0-9]*/cwd")}
    return [process for process, link in links.items() if os.path.exists(link) and os.readlink(link) == str(directory)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="lists the processes in /proc")
@pytest.mark.parametrize("launcher", [["launcher=joblib", "launcher.n_jobs=2"], ["launcher=submitit_local"]])
def test_killed_sweep_leaves_no_processes(launcher, tmp_path):
    process = start_sweep(tmp_path, *launcher, "trainer.max_epochs=500,600,700", STEP_SECONDS="0.1")
    wait_until(lambda: list(tmp_path.rglob("last.ckpt")))
    before = list_processes(tmp_path)
    process.kill()
    process.communicate()
    wait_until(lambda: not list_processes(tmp_path), timeout_s=30)
    records = [json.loads(file.read_text()) for file in tmp_path.rglob("run.json")]

    assert len(before) > 1
    assert {record["reason"] for record in records} == {"stopped by SIGTERM"}


@pytest.mark.slow
def test_submitit_runs_jobs_without_slurm(tmp_path):
    code, output, sweep_dir = run_sweep(
        tmp_path, "launcher=submitit_local", "trainer.max_epochs=1,3", FAULT="epochs>2:too long"
    )

    assert code == 1
    assert read_statuses(sweep_dir) == ["finished", "failed"]
    assert len(re.findall(r"^job [01]     \d+ ", output, re.M)) == 2
    job_output = "".join(file.read_text() for file in (sweep_dir / ".submitit").rglob("*_log.*"))
    assert "trainer.max_epochs=3" in job_output
    assert "Warning" not in job_output
