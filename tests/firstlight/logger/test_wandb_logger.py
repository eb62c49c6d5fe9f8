"""Weights & Biases without account or network: what an offline run holds, read back by wandb's own tool."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight import train
from firstlight.logger import wandb_logger
from firstlight.logger.wandb_auth import resolve_mode
from support.options import list_options, make_tiny_overrides

# Skipped in a project that has deleted this command.
sweep = pytest.importorskip("firstlight.sweep.__main__")

MODELS = list_options("model")
WANDB = ["logger=wandb", "trainer.limit_train_batches=2"]


def offline(model: str) -> list[str]:
    return [word for word in make_tiny_overrides(model) if word != "logger=none"] + WANDB


def records(folder: Path) -> dict[str, list[dict]]:
    """Return what a run recorded, by kind."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    wandb = Path(sys.executable).with_name("wandb")
    told = subprocess.run([wandb, "leet", "inspect", "--json", file], capture_output=True, text=True, check=True)
    found: dict[str, list[dict]] = {}
    for line in told.stdout.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record.get(record["type"], record))
    return found


@pytest.mark.parametrize("model", MODELS)
def test_an_offline_run_holds_everything(compose_cfg, tmp_path, model, capfd):
    metrics = train.main(compose_cfg(*offline(model), "tags=[a,b]"))
    found = records(tmp_path / "run")
    text = json.dumps(found)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    told = capfd.readouterr()

    assert run["loggers"]["wandb"]["mode"] == "offline"
    assert Path(run["loggers"]["wandb"]["folder"]).is_dir()
    assert run["loggers"]["wandb"]["id"] in text
    assert '"train"' in text  # the job type
    assert "val/accuracy" in text
    assert "train/lr" in text
    assert str(metrics["test/loss"])[:8] in text
    assert str(tmp_path / "run") in text  # the folder, from the configuration
    assert run["git"]["commit"] in text
    assert "test/predictions" in text
    assert "test/confusion_matrix" in text
    assert "artifact" in found
    assert any("make wandb-sync" in line for line in told.out.splitlines())
    assert "WARNING" not in told.err


@pytest.mark.slow
def test_jobs_of_a_sweep_are_runs_of_one_group(monkeypatch, tmp_path):
    monkeypatch.setenv("FAULT", "batch>2:broke down")
    monkeypatch.chdir(tmp_path)
    words = [word for word in offline("tiny_faulty") if not word.startswith("data.batch_size")]
    monkeypatch.setattr(sys, "argv", ["sweep", *words, "data.batch_size=2,4", "trainer.limit_test_batches=1"])
    with pytest.raises(SystemExit):
        sweep.main()
    (folder,) = (tmp_path / "logs" / "sweep").iterdir()
    jobs = {job.name.partition("_")[0]: records(job) for job in folder.iterdir() if job.is_dir()}
    exits = {name: found["exit"][0].get("exit_code", 0) for name, found in jobs.items()}

    assert exits == {"0": 0, "1": 1}
    assert all(folder.name in json.dumps(found["run"]) for found in jobs.values())
    assert "data.batch_size=2" in json.dumps(jobs["0"]["run"])


@pytest.mark.parametrize(
    ("variable", "setting", "mode"),
    [("offline", "auto", "offline"), ("disabled", "auto", "disabled"), (None, "online", "online")],
)
def test_the_mode_is_what_was_asked_for(monkeypatch, variable, setting, mode):
    monkeypatch.delenv("WANDB_MODE")
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)

    assert (mode, "as asked") == resolve_mode(setting)


def test_a_key_that_is_none_is_no_reason_not_to_train():
    # In a process of its own: wandb reads the variable once.
    code = "from firstlight.logger.wandb_auth import chosen_mode; print(*chosen_mode('auto'))"
    environment = {**os.environ, "WANDB_API_KEY": "abc"}
    del environment["WANDB_MODE"]
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)

    assert told.stdout.startswith("offline the API key is no good"), told.stderr


def test_without_a_key_it_is_offline(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))

    assert resolve_mode("auto") == ("offline", "no API key found")


def test_an_id_that_is_still_held_does_not_stop_a_training(monkeypatch):
    asked = []

    def started(settings, mode):
        asked.append((settings["id"], mode))
        if settings["id"] == "held":
            raise Exception("run ID held is in use")
        return "run"

    monkeypatch.setattr(wandb_logger, "init_run", started)

    assert wandb_logger.init_offline_run({"id": "held", "resume": None}) == "run"
    assert [("held", "offline"), (asked[1][0], "offline")] == asked
    assert len(asked[1][0]) == 8
