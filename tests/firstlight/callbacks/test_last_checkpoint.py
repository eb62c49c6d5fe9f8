"""Stops and attempts: what run.json lists, who may go on, from what, and with which settings."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from firstlight.checkpoint import io as checkpoint_io
from firstlight.cli.errors import format_user_error
from firstlight.config.compose import compose_config
from firstlight.run.record import acquire_run_lock
from support.interruption import SMALL_OVERRIDES, SignalSender, load_saved, read_record, train_model


def test_the_second_signal_ends_at_once(tmp_path):
    class Twice(SignalSender):
        def _called(self, hook):
            if hook == "train_batch_end" and self.calls.get(hook) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
            super()._called(hook)

    with pytest.raises(SystemExit) as stop:
        train_model([*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}"], Twice())

    assert stop.value.code == 143
    assert read_record(tmp_path / "run")["reason"] == "stopped by SIGTERM"
    assert load_saved(tmp_path / "run")["global_step"] == 4


def test_run_json_lists_starts_and_stops(tmp_path):
    with pytest.raises(SystemExit):
        train_model(
            [*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}"], SignalSender(("train_batch_end", 5), signal.SIGINT)
        )
    between = read_record(tmp_path / "run")
    train_model([f"resume={tmp_path / 'run'}"], SignalSender())
    attempts = read_record(tmp_path / "run")["attempts"]

    assert (between["status"], between["reason"]) == ("interrupted", "stopped by SIGINT")
    ends = [(start["status"], start["reason"]) for start in attempts]
    assert ends == [("interrupted", "stopped by SIGINT"), ("finished", None)]
    assert all(start["started"] <= start["ended"] for start in attempts)


@pytest.mark.slow
def test_a_folder_takes_one_training_at_a_time(tmp_path):
    folder = tmp_path / "run"
    train_model([*SMALL_OVERRIDES, f"output_dir={folder}"], SignalSender())
    before = (folder / "run.json").read_bytes()
    hold = """
import pathlib, sys, time
from firstlight.run.record import acquire_run_lock
with acquire_run_lock(pathlib.Path(sys.argv[1])):
    print(flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", hold, folder], stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises(ValueError, match="is in use by another process that trains there: wait for its end") as caught:
        train_model([f"resume={folder}", "trainer.max_epochs=4"], SignalSender())
    holder.kill()
    holder.wait()

    assert format_user_error(caught.value, "train", []) == str(caught.value)
    assert before == (folder / "run.json").read_bytes()
    with acquire_run_lock(folder):  # what a killed process held is free
        pass


@pytest.fixture
def stopped(tmp_path):
    """Return the folder of a run that was stopped in its third epoch."""
    folder = tmp_path / "logs" / "train" / "run"
    with pytest.raises(SystemExit):
        train_model([*SMALL_OVERRIDES, f"output_dir={folder}"], SignalSender(("train_batch_end", 9)))
    return folder


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    for place in range(len(content) // 4, len(content), 97):
        content[place] ^= 8
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, lambda file: file.write_bytes(b"")])
def test_a_damaged_checkpoint_is_named_and_the_newest_whole_one_taken(stopped, damage, capsys):
    damage(stopped / "checkpoints" / "last.ckpt")
    capsys.readouterr()
    train_model([f"resume={stopped}"], spy := SignalSender())
    told = capsys.readouterr().out

    assert "last.ckpt is damaged" in told
    assert "; going on from best.ckpt" in told
    assert min(spy.losses) in [(1, 0), (2, 0)]
    assert read_record(stopped)["status"] == "finished"


def test_a_checkpoint_of_a_newer_version_is_refused(stopped):
    for name in ("last", "best"):
        file = stopped / "checkpoints" / f"{name}.ckpt"
        content = torch.load(file, weights_only=True) | {"format_version": 99}
        torch.save(content, file)
    with pytest.raises(ValueError, match="was written by a newer version of this project .format 99, known is 1."):
        checkpoint_io.load_checkpoint(file)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("data.batch_size=8", "data.batch_size was 4 and would become 8"),
        ("optimizer.lr=0.5", "optimizer.lr was .* and would become 0.5"),
        ("seed=3", "seed was 0 and would become 3"),
        ("trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches was 1 and would become 2"),
    ],
)
def test_a_setting_that_would_make_it_another_run_is_refused_with_both_values(stopped, word, told):
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    with pytest.raises(ValueError, match=told):
        compose_config("train", [f"resume={stopped}", word])

    assert before == {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_an_optimizer_goes_on_with_the_kernel_it_is_built_with(tmp_path, before, after):
    adamw = [*SMALL_OVERRIDES, "optimizer=adamw", f"trainer.fused_optimizer={before}", f"output_dir={tmp_path}"]
    with pytest.raises(SystemExit):
        train_model(adamw, SignalSender(("train_batch_end", 5)))
    train_model([f"resume={tmp_path}", f"trainer.fused_optimizer={after}"], SignalSender())

    groups = load_saved(tmp_path)["optimizer_states"][0]["param_groups"]
    assert {bool(group["fused"]) for group in groups} == {after}
    assert all(state["step"] == 12 for state in load_saved(tmp_path)["optimizer_states"][0]["state"].values())


def test_the_same_value_again_is_no_change(stopped):
    assert compose_config("train", [f"resume={stopped}", "data.batch_size=4", "seed=0"]).data.batch_size == 4


def test_resume_last_takes_the_newest_unfinished_run_that_nobody_trains(stopped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, started, status in [("older", "2020-01-01T00:00:00+00:00", "failed"), ("done", "2990", "finished")]:
        other = tmp_path / "logs" / "train" / name
        (other / "checkpoints").mkdir(parents=True)
        (other / "checkpoints" / "last.ckpt").touch()
        (other / "run.json").write_text(json.dumps({"started": started, "status": status}))

    assert compose_config("train", ["resume=last"]).resume == "logs/train/run"
    with acquire_run_lock(stopped), pytest.raises(ValueError, match="There is no run|config.yaml|no run"):
        compose_config("train", ["resume=last"])


def test_resume_last_without_any_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="No run in logs/train waits to go on"):
        compose_config("train", ["resume=last"])


def test_a_clock_that_was_set_back_harms_nothing(tmp_path, monkeypatch):
    from firstlight.run import record as module

    times = iter(f"20{99 - index:02}-01-01T00:00:00+00:00" for index in range(99))
    monkeypatch.setattr(module, "utc_now", lambda: next(times))
    with pytest.raises(SystemExit):
        train_model(
            [*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}", "callbacks.last.every_n_minutes=1"],
            SignalSender(("train_batch_end", 5)),
        )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    os.utime(last, (0, 0))
    train_model([f"resume={tmp_path / 'run'}"], spy := SignalSender())

    assert min(spy.losses) == (1, 2)  # from last.ckpt, however old it says it is
    assert read_record(tmp_path / "run")["duration_s"] > 0


@pytest.mark.slow
def test_saving_by_minutes_and_by_steps(tmp_path, monkeypatch):
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
    words = [*SMALL_OVERRIDES, "callbacks.last.every_n_epochs=null", "trainer.max_epochs=2"]
    train_model([*words, "callbacks.last.every_n_train_steps=3", f"output_dir={tmp_path / 'steps'}"], SignalSender())
    by_steps = list(saves)
    saves.clear()
    train_model([*words, "callbacks.last.every_n_minutes=1e-9", f"output_dir={tmp_path / 'minutes'}"], SignalSender())

    assert by_steps == [3, 6]
    assert saves == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("batch_size: 4", "batch_size: 5"),
        lambda text: text[: len(text) // 2],
        lambda text: "{",
        lambda text: text.replace("sha256 of the above: ", "sha256 of the above: 0"),
    ],
)
def test_a_damaged_config_yaml_is_told_and_that_of_the_checkpoint_taken(stopped, damage, capsys):
    file = stopped / "config.yaml"
    whole = compose_config("train", [f"resume={stopped}"])
    file.write_text(damage(file.read_text()))
    capsys.readouterr()
    mended = compose_config("train", [f"resume={stopped}"])

    assert "the copy in last.ckpt is taken" in capsys.readouterr().out
    assert whole == mended
