"""W&B without an account or a network: an offline run contains all data, as read by wandb's own tool."""

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

# A project may delete this command; its tests are then skipped.
sweep = pytest.importorskip("firstlight.sweep.__main__")

MODELS = list_options("model")
WANDB = ["logger=wandb", "trainer.limit_train_batches=2"]


def make_wandb_overrides(model: str) -> list[str]:
    return [override for override in make_tiny_overrides(model) if override != "logger=none"] + WANDB


def read_wandb_records(run_dir: Path) -> dict[str, list[dict]]:
    """Return the records of an offline W&B run by type."""
    (file,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", file]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    records: dict[str, list[dict]] = {}
    for line in process.stdout.splitlines():
        record = json.loads(line)
        records.setdefault(record["type"], []).append(record.get(record["type"], record))
    return records


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=[pytest.mark.slow] if index else []) for index, model in enumerate(MODELS)]
)
def test_offline_run_contains_all_data(compose_cfg, tmp_path, model, capfd):
    metrics = train.main(compose_cfg(*make_wandb_overrides(model), "tags=[a,b]"))["metrics"]
    records = read_wandb_records(tmp_path / "run")
    text = json.dumps(records)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    output = capfd.readouterr()

    assert run["loggers"]["wandb"]["mode"] == "offline"
    assert Path(run["loggers"]["wandb"]["segment_dir"]).is_dir()
    assert run["loggers"]["wandb"]["id"] in text
    assert '"train"' in text  # the job type
    assert "val/accuracy" in text
    assert "train/lr" in text
    assert str(metrics["test/loss"])[:8] in text
    assert str(tmp_path / "run") in text  # the run directory, from the config
    assert run["git"]["commit"] in text
    assert "test/predictions" in text
    assert "test/confusion_matrix" in text
    assert "artifact" in records
    assert any("make wandb-sync" in line for line in output.out.splitlines())
    assert "WARNING" not in output.err


@pytest.mark.slow
def test_sweep_jobs_share_a_group(monkeypatch, tmp_path):
    monkeypatch.setenv("FAULT", "batch>2:broke down")
    monkeypatch.chdir(tmp_path)
    overrides = [item for item in make_wandb_overrides("tiny_faulty") if not item.startswith("data.batch_size")]
    monkeypatch.setattr(sys, "argv", ["sweep", *overrides, "data.batch_size=2,4", "trainer.limit_test_batches=1"])
    with pytest.raises(SystemExit):
        sweep.main()
    (sweep_dir,) = (tmp_path / "logs" / "sweep").iterdir()
    jobs = {
        run_dir.name.partition("_")[0]: read_wandb_records(run_dir)
        for run_dir in sweep_dir.iterdir()
        if run_dir.is_dir()
    }
    exit_codes = {number: records["exit"][0].get("exit_code", 0) for number, records in jobs.items()}

    assert exit_codes == {"0": 0, "1": 1}
    assert all(sweep_dir.name in json.dumps(records["run"]) for records in jobs.values())
    assert "data.batch_size=2" in json.dumps(jobs["0"]["run"])


@pytest.mark.parametrize(
    ("variable", "setting", "mode"),
    [("offline", "auto", "offline"), ("disabled", "auto", "disabled"), (None, "online", "online")],
)
def test_requested_mode_is_used(monkeypatch, variable, setting, mode):
    monkeypatch.delenv("WANDB_MODE")
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)

    assert (mode, "as requested") == resolve_mode(setting)


def test_mode_is_offline_with_invalid_api_key():
    # In a separate process, because wandb reads the variable only once.
    code = "from firstlight.logger.wandb_auth import resolve_mode; print(*resolve_mode('auto'))"
    environment = {**os.environ, "WANDB_API_KEY": "abc"}
    del environment["WANDB_MODE"]
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)

    assert process.stdout.startswith("offline invalid API key ("), process.stderr


def test_mode_is_offline_without_api_key(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))

    assert resolve_mode("auto") == ("offline", "no API key found")


def test_offline_run_gets_new_id_if_id_is_in_use(monkeypatch):
    attempts = []

    def init_run(settings, mode):
        attempts.append((settings["id"], mode))
        if settings["id"] == "held":
            raise Exception("run ID held is in use")
        return "run"

    monkeypatch.setattr(wandb_logger, "init_run", init_run)

    assert wandb_logger.init_offline_fallback({"id": "held", "resume": None}) == "run"
    assert [("held", "offline"), (attempts[1][0], "offline")] == attempts
    assert len(attempts[1][0]) == 8
