"""`make wandb-sweep` validates every value of a sweep before it creates the sweep at W&B."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from firstlight import wandb_sweep
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.logger import wandb_auth
from firstlight.run.errors import ConfigError
from support.options import get_tiny_model, make_tiny_overrides

# openwandb, the server of other tests, does not support sweeps: these tests replace W&B's functions that create them.
STORED_SWEEP = yaml.safe_load((Path(__file__).parents[2] / "sweeps" / "optimizer.yaml").read_text())
# The stored sweep with a model of the tests instead of the project's model.
SWEEP = STORED_SWEEP | {"parameters": {**STORED_SWEEP["parameters"], "model": {"value": "tiny_images"}}}


def write_sweep_file(directory, **changes):
    """Write a sweep file that differs from the stored one, and return its path."""
    file = directory / "sweep.yaml"
    parameters = {"model": {"value": "tiny_images"}} | changes.pop("parameters", SWEEP["parameters"])
    file.write_text(yaml.safe_dump(SWEEP | {"parameters": parameters} | changes, sort_keys=False))
    return file


def run_wandb_sweep(file, *overrides):
    return wandb_sweep.main(compose_config("wandb_sweep", [f"file={file}", *overrides]))["sweep_id"]


def test_sweep_is_validated_without_server(tmp_path, capsys):
    assert run_wandb_sweep(write_sweep_file(tmp_path), "dry_run=true") is None
    output = capsys.readouterr().out
    assert "python -m firstlight.train model=tiny_images optimizer.lr=1e-05 data.batch_size=16" in output


def test_sweep_is_validated_without_torch(tmp_path):
    code = "import sys; from firstlight import wandb_sweep; wandb_sweep.main(); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, f"file={write_sweep_file(tmp_path)}", "dry_run=true"]
    process = subprocess.run(command, capture_output=True, text=True)

    assert process.stdout.endswith("False\n"), process.stderr


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer.lrr": {"value": 1}}, "Unknown setting 'optimizer.lrr'. Did you mean 'optimizer.lr'?"),
        (
            {"data.batch_size": {"values": [8, "many"]}},
            "Invalid value for data.batch_size: expected an integer, got 'many'.",
        ),
        (
            {"data.batch_size": {"min": 8.0, "max": 64.0}},
            "Invalid value for data.batch_size: expected an integer, got 8.0.",
        ),
        (
            {"seed": {"distribution": "normal", "mu": 1, "sigma": 1, "x": 1}, "sead": {"value": 1}},
            "Unknown setting 'sead'.",
        ),
        (
            {"scheduler": {"values": ["cosine", "cosin"]}},
            "Unknown option scheduler=cosin. Did you mean scheduler=cosine?",
        ),
        (
            {"model": {"values": ["tiny_images", "tiny_text"]}, "data": {"value": "fake_images"}},
            "TinyText expects text, but FakeImageDataModule provides images.",
        ),
        (
            {"optimizer": {"parameters": {"lr": {"value": 1}}}},
            "Invalid parameter 'optimizer': nested parameters are not supported.",
        ),
        (
            {"optimizer.lr": {"distribution": "uniform"}},
            "Invalid parameter 'optimizer.lr': expected value, values, or min and max, got distribution.",
        ),
    ],
)
def test_invalid_parameter_is_rejected(tmp_path, monkeypatch, parameters, message):
    monkeypatch.setattr(wandb, "sweep", lambda *args, **settings: pytest.fail("created"))

    with pytest.raises(ConfigError, match=re.escape(message)):
        run_wandb_sweep(write_sweep_file(tmp_path, parameters=parameters))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "guess"}, r"^Invalid value for method in .*: expected one of bayes, random, grid, got 'guess'\."),
        ({"method": "bayes", "metric": None}, r"^method: bayes requires a metric in .*sweep\.yaml\."),
        ({"command": None}, r"^Missing key 'command' in .*sweep\.yaml\."),
    ],
)
def test_invalid_sweep_file_is_rejected(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        run_wandb_sweep(write_sweep_file(tmp_path, **changes))
    with pytest.raises(ConfigError, match=r"^Sweep file .*none\.yaml does not exist\."):
        run_wandb_sweep(tmp_path / "none.yaml")


def test_sweep_requires_api_key(monkeypatch, tmp_path):
    monkeypatch.setattr(wandb_auth, "resolve_mode", lambda mode: ("offline", "no API key found"))

    with pytest.raises(ConfigError, match=r"^W&B sweeps require an online connection, .*\(no API key found\)\. Run"):
        run_wandb_sweep(write_sweep_file(tmp_path))


def test_sweep_is_created_and_agent_started(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(wandb_auth, "resolve_mode", lambda mode: ("online", "API key found"))
    monkeypatch.setattr(wandb, "sweep", lambda sweep, **project: calls.append((sweep, project)) or "abc")
    monkeypatch.setattr(wandb, "agent", lambda sweep_id, **settings: calls.append((sweep_id, settings)))
    monkeypatch.setenv("PATH", "/usr/bin")
    file = write_sweep_file(tmp_path)
    project = {"entity": None, "project": STORED_SWEEP["project"]}

    assert run_wandb_sweep(file, "count=3") == "abc"
    assert calls[0] == (yaml.safe_load(file.read_text()), project)
    assert calls[1] == ("abc", {"count": 3, **project})


@pytest.mark.parametrize("lr", [1e-05, 0.01, 3, "1e-4"])
def test_overrides_of_agent_compose(lr):
    values = {
        "model": get_tiny_model(),
        "optimizer.lr": lr,
        "data.batch_size": 16,
        "trainer.max_epochs": 1,
        "test": False,
    }
    args = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    cfg = compose_config("train", [*args["args_no_hyphens"], "output_dir=logs"])
    validate_config(cfg)

    assert cfg.optimizer.lr == float(lr)
    assert cfg.test is False


@pytest.mark.slow
def test_job_of_agent_trains_in_new_run_directory(tmp_path):
    tiny = [override for override in make_tiny_overrides(get_tiny_model()) if override != "logger=none"]
    overrides = ["optimizer.lr=1e-05", "experiment=smoke", *tiny]
    command = shlex.split("/usr/bin/env python -m firstlight.train")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(tmp_path), "WANDB_MODE": "offline", "WANDB_RUN_ID": "chosen"}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH", "FIRSTLIGHT_CONFIG_PATH")}
    process = subprocess.run([*command, *overrides], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert process.returncode == 0, process.stderr
    (run_dir,) = (tmp_path / "logs" / "train").iterdir()
    assert len(list(run_dir.glob("wandb/offline-run-*-chosen"))) == 1
