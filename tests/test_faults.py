"""What goes wrong in a run: its status, its reason in one sentence, and what is kept."""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from interrupted import Chancy, Spy, trained
from small import WORDS

from firstlight import checkpoint_io, run, train
from firstlight.callbacks.loss_guard import LossGuard
from firstlight.compose import composed
from firstlight.logger.metrics_csv import MetricsCSV
from firstlight.mistake import sentence
from firstlight.record import locked

SMALL = [*WORDS, "data.num_samples=16", "trainer.max_epochs=3", "trainer.log_every_n_steps=1", "test=false"]


class Faulty(Chancy):
    """Fails in the sixth step, the second of the second epoch, as `fault` says."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return type(self).fault(self, loss) if self.trainer.global_step == 5 else loss


@pytest.fixture
def faulty(monkeypatch, tmp_path):
    """Return a function that trains with a fault, and returns the error and the run's record."""
    monkeypatch.setattr(run, "build_model", lambda settings, facts: Faulty())
    monkeypatch.setattr(run, "load_model", lambda *args: Faulty())

    def train_(fault, *words):
        Faulty.fault = fault
        with pytest.raises(BaseException) as caught:
            train.main(composed("train", [*SMALL, f"output_dir={tmp_path / 'run'}", *words]))
        return caught.value, record(tmp_path / "run")

    return train_


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(run, "build_model", lambda settings, facts: Chancy())
    monkeypatch.setattr(run, "load_model", lambda *args: Chancy())


@pytest.fixture
def little_disk(tmp_path):
    """Return a folder on a disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root on Linux")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def saved(folder: Path, name: str = "last") -> dict:
    return checkpoint_io.load(folder / "checkpoints" / f"{name}.ckpt")


@pytest.mark.parametrize(
    ("value", "every"), [("nan", 3), *(pytest.param(*way, marks=pytest.mark.slow) for way in [("nan", 1), ("inf", 1)])]
)
def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(faulty, tmp_path, value, every):
    error, told = faulty(lambda self, loss: loss * float(value), f"trainer.log_every_n_steps={every}")
    batch = torch.load(tmp_path / "run" / "bad_batch.pt", weights_only=True)

    assert told["status"] == "failed"
    assert f"The loss is {value} in step 6 (epoch 2); its samples, of train, are" in told["reason"] == str(error)
    assert "try a lower optimizer.lr; the last checkpoint is from before" in str(error)
    assert sentence(error, "train", []) == str(error)
    assert (len(batch["ids"]), batch["epoch"], batch["step"]) == (4, 1, 6)
    assert torch.equal(batch["batch"]["ids"], torch.tensor(batch["ids"]))
    for name in ("last", "best"):
        assert saved(tmp_path / "run", name)["global_step"] == 4
        assert all(value.isfinite().all() for value in saved(tmp_path / "run", name)["state_dict"].values())


def test_weights_that_are_no_numbers_are_not_saved(faulty, tmp_path):
    def spoil(self, loss):
        # The loss of this step is a number, its gradient is none.
        weight = next(self.parameters())
        weight.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    _, told = faulty(spoil, "callbacks.last.every_steps=2")

    assert "Step 6 made weights that are no numbers" in told["reason"]
    assert saved(tmp_path / "run")["global_step"] == 4


def test_a_leap_of_the_loss_is_told_once_an_epoch(capsys):
    guard = LossGuard("unused", spike=10)
    guard.before.extend([0.5] * 60)
    for step, loss in [(61, 4.9), (62, 5.1), (63, 9.0)]:
        guard._warn_of_spike(type("S", (), {"step": step, "epoch": 2}), loss)

    assert capsys.readouterr().out == "loss spike in step 62: 5.1, against a median of 0.5 before\n"


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "MPS backend out of memory (MPS allocated: 9 GB, other allocations: 1 GB, max allowed: 10 GB)",
        "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
    ],
)
def test_memory_that_runs_out_names_the_batch_size(faulty, text):
    def fail(self, loss):
        raise RuntimeError(text)

    error, told = faulty(fail)

    assert (told["status"], told["reason"]) == ("failed", "out of memory with data.batch_size=4: try data.batch_size=2")
    assert "halve data.batch_size" in sentence(error, "train", [])


def test_a_full_disk_ends_the_run_and_the_earlier_checkpoint_stands(small, little_disk):
    words = [*SMALL, "trainer.max_epochs=100", "callbacks=none", f"output_dir={little_disk}/run"]
    last = (
        "callbacks={last:{_target_:firstlight.callbacks.last_checkpoint.LastCheckpoint,dirpath:"
        + f"{little_disk}/run/checkpoints"
        + "}}"
    )

    class Filler(Spy):
        def on_train_epoch_end(self, trainer, *args):
            if trainer.current_epoch == 1:
                with (little_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
                    while True:
                        file.write(bytes(512))

    with pytest.raises(OSError) as caught:
        trained([*words, f"+{last}"], Filler())
    told = record(little_disk / "run")

    assert told["status"] == "failed"
    assert told["reason"].startswith("The disk is full")
    assert sentence(caught.value, "train", []).startswith("The disk is full")
    assert saved(little_disk / "run")["global_step"] == 4
    assert not [path for path in (little_disk / "run" / "checkpoints").iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("number", "what"), [(errno.ENOSPC, "The disk is full"), (errno.EACCES, "cannot be written to")]
)
def test_a_disk_that_fails_under_metrics_csv(small, monkeypatch, tmp_path, number, what):
    def fail(self):
        raise OSError(number, os.strerror(number), "metrics.csv")

    monkeypatch.setattr(MetricsCSV, "save", fail)
    with pytest.raises(OSError) as caught:
        train.main(composed("train", [*SMALL, f"output_dir={tmp_path / 'run'}"]))

    assert what in record(tmp_path / "run")["reason"]
    assert what in sentence(caught.value, "train", [])


def test_a_disk_that_fills_up_inside_a_row_leaves_whole_rows(tmp_path, monkeypatch):
    logger = MetricsCSV(str(tmp_path))
    logger.log_metrics({"train/loss": 0.5}, step=0)
    logger.save()
    before = logger.path.read_text()
    text = logger._lines

    def half(rows):
        with logger.path.open("a", encoding="utf-8") as file:
            file.write(text(rows)[:3])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(logger, "_lines", half)
    logger.log_metrics({"train/loss": 0.25}, step=1)
    with pytest.raises(OSError):
        logger.save()
    assert logger.path.read_text() == before
    monkeypatch.setattr(logger, "_lines", text)
    logger.finalize("failed")

    assert [row["train/loss"] for row in logger._read()] == ["0.5", "0.25"]


def test_a_folder_that_cannot_be_written_to_is_named():
    with pytest.raises(ValueError, match="cannot be made") as caught:
        train.main(composed("train", [*SMALL, "output_dir=/proc/run"]))

    assert sentence(caught.value, "train", []) == (
        "The folder /proc/run cannot be made (No such file or directory): give output_dir=<a folder of yours>"
    )


def test_the_second_signal_ends_at_once(small, tmp_path):
    class Twice(Spy):
        def _called(self, hook):
            if hook == "train_batch_end" and self.calls.get(hook) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
            super()._called(hook)

    with pytest.raises(SystemExit) as stop:
        trained([*SMALL, f"output_dir={tmp_path / 'run'}"], Twice())

    assert stop.value.code == 143
    assert record(tmp_path / "run")["reason"] == "stopped by SIGTERM"
    assert saved(tmp_path / "run")["global_step"] == 4


def test_run_json_lists_starts_and_stops(small, tmp_path):
    with pytest.raises(SystemExit):
        trained([*SMALL, f"output_dir={tmp_path / 'run'}"], Spy(("train_batch_end", 5), signal.SIGINT))
    between = record(tmp_path / "run")
    trained([f"resume={tmp_path / 'run'}"], Spy())
    starts = record(tmp_path / "run")["starts"]

    assert (between["status"], between["reason"]) == ("interrupted", "stopped by SIGINT")
    ends = [(start["status"], start["reason"]) for start in starts]
    assert ends == [("interrupted", "stopped by SIGINT"), ("finished", None)]
    assert all(start["started"] <= start["ended"] for start in starts)


@pytest.mark.slow
def test_a_folder_takes_one_training_at_a_time(small, tmp_path):
    folder = tmp_path / "run"
    trained([*SMALL, f"output_dir={folder}"], Spy())
    before = (folder / "run.json").read_bytes()
    hold = """
import pathlib, sys, time
from firstlight.record import locked
with locked(pathlib.Path(sys.argv[1])):
    print(flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", hold, folder], stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises(ValueError, match="is in use by another process that trains there: wait for its end") as caught:
        trained([f"resume={folder}", "trainer.max_epochs=4"], Spy())
    holder.kill()
    holder.wait()

    assert sentence(caught.value, "train", []) == str(caught.value)
    assert before == (folder / "run.json").read_bytes()
    with locked(folder):  # what a killed process held is free
        pass


@pytest.fixture
def stopped(small, tmp_path):
    """Return the folder of a run that was stopped in its third epoch."""
    folder = tmp_path / "logs" / "train" / "run"
    with pytest.raises(SystemExit):
        trained([*SMALL, f"output_dir={folder}"], Spy(("train_batch_end", 9)))
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
    trained([f"resume={stopped}"], spy := Spy())
    told = capsys.readouterr().out

    assert "last.ckpt is damaged" in told
    assert "; going on from best.ckpt" in told
    assert min(spy.losses) in [(1, 0), (2, 0)]
    assert record(stopped)["status"] == "finished"


def test_a_checkpoint_of_a_newer_version_is_refused(stopped):
    for name in ("last", "best"):
        file = stopped / "checkpoints" / f"{name}.ckpt"
        content = torch.load(file, weights_only=True) | {"format": 99}
        torch.save(content, file)
    with pytest.raises(ValueError, match="was written by a newer version of this project .format 99, known is 1."):
        checkpoint_io.load(file)


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
        composed("train", [f"resume={stopped}", word])

    assert before == {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}


def test_the_same_value_again_is_no_change(stopped):
    assert composed("train", [f"resume={stopped}", "data.batch_size=4", "seed=0"]).data.batch_size == 4


def test_resume_last_takes_the_newest_unfinished_run_that_nobody_trains(stopped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, started, status in [("older", "2020-01-01T00:00:00+00:00", "failed"), ("done", "2990", "finished")]:
        other = tmp_path / "logs" / "train" / name
        (other / "checkpoints").mkdir(parents=True)
        (other / "checkpoints" / "last.ckpt").touch()
        (other / "run.json").write_text(json.dumps({"started": started, "status": status}))

    assert composed("train", ["resume=last"]).resume == "logs/train/run"
    with locked(stopped), pytest.raises(ValueError, match="There is no run|config.yaml|no run"):
        composed("train", ["resume=last"])


def test_resume_last_without_any_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="No run in logs/train waits to go on"):
        composed("train", ["resume=last"])


def test_a_clock_that_was_set_back_harms_nothing(small, tmp_path, monkeypatch):
    from firstlight import record as module

    times = iter(f"20{99 - index:02}-01-01T00:00:00+00:00" for index in range(99))
    monkeypatch.setattr(module, "now", lambda: next(times))
    with pytest.raises(SystemExit):
        trained(
            [*SMALL, f"output_dir={tmp_path / 'run'}", "callbacks.last.every_minutes=1"], Spy(("train_batch_end", 5))
        )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    os.utime(last, (0, 0))
    trained([f"resume={tmp_path / 'run'}"], spy := Spy())

    assert min(spy.losses) == (1, 2)  # from last.ckpt, however old it says it is
    assert record(tmp_path / "run")["seconds"] > 0


@pytest.mark.slow
def test_saving_by_minutes_and_by_steps(small, tmp_path, monkeypatch):
    from firstlight.callbacks.last_checkpoint import LastCheckpoint

    saves = []
    monkeypatch.setattr(
        LastCheckpoint,
        "_save",
        lambda self, trainer: (
            saves.append(trainer.global_step)
            or setattr(self, "due", False)
            or setattr(self, "saved_step", trainer.global_step)
        ),
    )
    words = [*SMALL, "callbacks.last.every_epochs=null", "trainer.max_epochs=2"]
    trained([*words, "callbacks.last.every_steps=3", f"output_dir={tmp_path / 'steps'}"], Spy())
    by_steps = list(saves)
    saves.clear()
    trained([*words, "callbacks.last.every_minutes=1e-9", f"output_dir={tmp_path / 'minutes'}"], Spy())

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
    whole = composed("train", [f"resume={stopped}"])
    file.write_text(damage(file.read_text()))
    capsys.readouterr()
    mended = composed("train", [f"resume={stopped}"])

    assert "the copy in last.ckpt is taken" in capsys.readouterr().out
    assert whole == mended
