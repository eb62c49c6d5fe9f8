"""Stopping and resuming runs: recorded attempts, checkpoint selection, and settings that may change."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch

from firstlight.checkpoint import io as checkpoint_io
from firstlight.cli.errors import format_user_error
from firstlight.config.compose import compose_config
from firstlight.run import record
from firstlight.run.errors import CheckpointError, ConfigError
from firstlight.run.files import ENGINE_KEY
from firstlight.run.lock import acquire_run_lock
from support.interruption import SMALL_OVERRIDES, SignalSender, load_saved, read_record, train_model


def test_second_signal_stops_immediately(tmp_path):
    class SecondSignalSender(SignalSender):
        def _count_call(self, hook):
            if hook == "train_batch_end" and self.calls.get(hook) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
            super()._count_call(hook)

    with pytest.raises(SystemExit) as stop:
        train_model([*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}"], SecondSignalSender())

    assert stop.value.code == 143
    assert read_record(tmp_path / "run")["reason"] == "stopped by SIGTERM"
    assert load_saved(tmp_path / "run")["global_step"] == 4


def test_run_json_lists_attempts(tmp_path):
    with pytest.raises(SystemExit):
        train_model(
            [*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}"], SignalSender(("train_batch_end", 5), signal.SIGINT)
        )
    between = read_record(tmp_path / "run")
    train_model([f"resume={tmp_path / 'run'}"], SignalSender())
    attempts = read_record(tmp_path / "run")["attempts"]

    assert (between["status"], between["reason"]) == ("interrupted", "stopped by SIGINT")
    ends = [(attempt["status"], attempt["reason"]) for attempt in attempts]
    assert ends == [("interrupted", "stopped by SIGINT"), ("finished", None)]
    assert all(attempt["started"] <= attempt["ended"] for attempt in attempts)


@pytest.mark.slow
def test_run_directory_is_locked(tmp_path):
    run_dir = tmp_path / "run"
    train_model([*SMALL_OVERRIDES, f"output_dir={run_dir}"], SignalSender())
    before = (run_dir / "run.json").read_bytes()
    script = """
import pathlib, sys, time
from firstlight.run.lock import acquire_run_lock
with acquire_run_lock(pathlib.Path(sys.argv[1])):
    print(flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", script, run_dir], stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises(CheckpointError, match=r"is locked by another process\. Wait for the process to") as caught:
        train_model([f"resume={run_dir}", "trainer.max_epochs=4"], SignalSender())
    holder.kill()
    holder.wait()

    assert format_user_error(caught.value, "train", []) == str(caught.value)
    assert before == (run_dir / "run.json").read_bytes()
    with acquire_run_lock(run_dir):  # a killed process releases its lock
        pass


@pytest.fixture
def stopped_run(tmp_path):
    """Return the directory of a run that was stopped in its third epoch."""
    run_dir = tmp_path / "logs" / "train" / "run"
    with pytest.raises(SystemExit):
        train_model([*SMALL_OVERRIDES, f"output_dir={run_dir}"], SignalSender(("train_batch_end", 9)))
    return run_dir


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_bits(file):
    content = bytearray(file.read_bytes())
    for index in range(len(content) // 4, len(content), 97):
        content[index] ^= 8
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_bits, lambda file: file.write_bytes(b"")])
def test_corrupt_checkpoint_is_reported_and_latest_valid_one_used(stopped_run, damage, capsys):
    damage(stopped_run / "checkpoints" / "last.ckpt")
    capsys.readouterr()
    train_model([f"resume={stopped_run}"], sender := SignalSender())
    output = capsys.readouterr().out

    assert re.search(r"Warning: .*last\.ckpt is corrupt .*\. Resuming from best\.ckpt\.", output)
    assert min(sender.losses) in [(1, 0), (2, 0)]
    assert read_record(stopped_run)["status"] == "finished"


def test_checkpoint_with_newer_format_raises(stopped_run):
    for name in ("last", "best"):
        file = stopped_run / "checkpoints" / f"{name}.ckpt"
        content = torch.load(file, weights_only=True)
        content[ENGINE_KEY]["format_version"] = 99
        torch.save(content, file)
    with pytest.raises(CheckpointError, match="uses checkpoint format 99, but this version supports up to 1"):
        checkpoint_io.load_checkpoint(file)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.batch_size=8", "Cannot change data.batch_size from 4 to 8 when resuming"),
        ("optimizer.lr=0.5", "Cannot change optimizer.lr from .* to 0.5 when resuming"),
        ("seed=3", "Cannot change seed from 0 to 3 when resuming"),
        (
            "trainer.accumulate_grad_batches=2",
            "Cannot change trainer.accumulate_grad_batches from 1 to 2 when resuming",
        ),
    ],
)
def test_changing_immutable_setting_on_resume_raises(stopped_run, override, message):
    before = {path: path.stat().st_mtime_ns for path in stopped_run.rglob("*")}
    with pytest.raises(ConfigError, match=message):
        compose_config("train", [f"resume={stopped_run}", override])

    assert before == {path: path.stat().st_mtime_ns for path in stopped_run.rglob("*")}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_resumed_optimizer_uses_current_fused_setting(tmp_path, before, after):
    overrides = [*SMALL_OVERRIDES, "optimizer=adamw", f"trainer.fused_optimizer={before}", f"output_dir={tmp_path}"]
    with pytest.raises(SystemExit):
        train_model(overrides, SignalSender(("train_batch_end", 5)))
    train_model([f"resume={tmp_path}", f"trainer.fused_optimizer={after}"], SignalSender())

    groups = load_saved(tmp_path)["optimizer_states"][0]["param_groups"]
    assert {bool(group["fused"]) for group in groups} == {after}
    assert all(state["step"] == 12 for state in load_saved(tmp_path)["optimizer_states"][0]["state"].values())


def test_repeating_saved_values_on_resume_is_allowed(stopped_run):
    assert compose_config("train", [f"resume={stopped_run}", "data.batch_size=4", "seed=0"]).data.batch_size == 4


def test_resume_last_selects_latest_unfinished_run(stopped_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, started, status in [("older", "2020-01-01T00:00:00+00:00", "failed"), ("done", "2990", "finished")]:
        other = tmp_path / "logs" / "train" / name
        (other / "checkpoints").mkdir(parents=True)
        (other / "checkpoints" / "last.ckpt").touch()
        (other / "run.json").write_text(json.dumps({"started": started, "status": status}))

    assert compose_config("train", ["resume=last"]).resume == "logs/train/run"
    with (
        acquire_run_lock(stopped_run),
        pytest.raises(CheckpointError, match="^logs/train/older has no "),
    ):
        compose_config("train", ["resume=last"])


def test_resume_last_without_resumable_run_raises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="No resumable run in logs/train"):
        compose_config("train", ["resume=last"])


def test_checkpoint_order_ignores_clock(tmp_path, monkeypatch):
    times = iter(f"20{99 - index:02}-01-01T00:00:00+00:00" for index in range(99))
    monkeypatch.setattr(record, "utc_now", lambda: next(times))
    with pytest.raises(SystemExit):
        train_model(
            [*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}", "callbacks.last.every_n_minutes=1"],
            SignalSender(("train_batch_end", 5)),
        )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    os.utime(last, (0, 0))
    train_model([f"resume={tmp_path / 'run'}"], sender := SignalSender())

    assert min(sender.losses) == (1, 2)  # from last.ckpt, despite its timestamp
    assert read_record(tmp_path / "run")["duration_s"] > 0


@pytest.mark.slow
def test_save_intervals_in_minutes_and_steps(tmp_path, monkeypatch):
    from firstlight.callbacks.last_checkpoint import LastCheckpoint

    saves = []
    monkeypatch.setattr(
        LastCheckpoint,
        "_save",
        lambda self, trainer: (
            saves.append(trainer.global_step)
            or setattr(self, "is_save_due", False)
            or setattr(self, "saved_step", trainer.global_step)
        ),
    )
    overrides = [*SMALL_OVERRIDES, "callbacks.last.every_n_epochs=null", "trainer.max_epochs=2"]
    train_model(
        [*overrides, "callbacks.last.every_n_train_steps=3", f"output_dir={tmp_path / 'steps'}"], SignalSender()
    )
    by_steps = list(saves)
    saves.clear()
    train_model(
        [*overrides, "callbacks.last.every_n_minutes=1e-9", f"output_dir={tmp_path / 'minutes'}"], SignalSender()
    )

    assert by_steps == [3, 6]
    assert saves == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("batch_size: 4", "batch_size: 5"),
        pytest.param(lambda text: text[: len(text) // 2], marks=pytest.mark.slow),
        pytest.param(lambda text: "{", marks=pytest.mark.slow),
        lambda text: text.replace("sha256 of the above: ", "sha256 of the above: 0"),
    ],
)
def test_corrupt_config_yaml_is_replaced_by_config_of_checkpoint(stopped_run, damage, capsys):
    file = stopped_run / "config.yaml"
    intact = compose_config("train", [f"resume={stopped_run}"])
    file.write_text(damage(file.read_text()))
    capsys.readouterr()
    restored = compose_config("train", [f"resume={stopped_run}"])

    assert "Using the config stored in last.ckpt." in capsys.readouterr().out
    # The checkpoint has the resolved values.
    intact.trainer.gradient_clip_val, intact.trainer.compile_min_steps = 1.0, 2000
    assert intact == restored
