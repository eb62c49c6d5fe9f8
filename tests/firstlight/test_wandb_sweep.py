"""`make wandb-sweep` checks every value of a sweep before W&B hears of it."""

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
from support.options import get_tiny_model, make_tiny_overrides

# openwandb, the server of the other tests, has no sweeps: these end where W&B's own functions would create one.
STORED = yaml.safe_load((Path(__file__).parents[2] / "sweeps" / "optimizer.yaml").read_text())
# The stored sweep with a model of the tests in the place of the project's.
SWEEP = STORED | {"parameters": {**STORED["parameters"], "model": {"value": "tiny_images"}}}


def sweep_file(folder, **changes):
    """Return the file of a sweep that differs from the stored one."""
    file = folder / "sweep.yaml"
    named = {"model": {"value": "tiny_images"}} | changes.pop("parameters", SWEEP["parameters"])
    file.write_text(yaml.safe_dump(SWEEP | {"parameters": named} | changes, sort_keys=False))
    return file


def run(file, *words):
    return wandb_sweep.main(compose_config("wandb_sweep", [f"file={file}", *words]))


def test_a_sweep_is_checked_without_a_server(tmp_path, capsys):
    assert run(sweep_file(tmp_path), "dry_run=true") is None
    told = capsys.readouterr().out
    assert "python -m firstlight.train model=tiny_images optimizer.lr=1e-05 data.batch_size=16" in told


def test_it_is_checked_without_torch(tmp_path):
    code = "import sys; from firstlight import wandb_sweep; wandb_sweep.main(); print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, f"file={sweep_file(tmp_path)}", "dry_run=true"]
    told = subprocess.run(words, capture_output=True, text=True)

    assert told.stdout.endswith("False\n"), told.stderr


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ({"optimizer.lrr": {"value": 1}}, "There is no setting optimizer.lrr: did you mean optimizer.lr?"),
        ({"data.batch_size": {"values": [8, "many"]}}, "data.batch_size is int, but data.batch_size='many'"),
        ({"data.batch_size": {"min": 8.0, "max": 64.0}}, "data.batch_size is int, but data.batch_size=8.0"),
        (
            {"seed": {"distribution": "normal", "mu": 1, "sigma": 1, "x": 1}, "sead": {"value": 1}},
            "There is no setting",
        ),
        ({"scheduler": {"values": ["cosine", "cosin"]}}, "There is no scheduler=cosin: did you mean scheduler=cosine?"),
        (
            {"model": {"values": ["tiny_images", "tiny_text"]}, "data": {"value": "fake_images"}},
            "TinyText reads text, but FakeImages",
        ),
        (
            {"optimizer": {"parameters": {"lr": {"value": 1}}}},
            "A parameter is one setting with its values, but",
        ),
        (
            {"optimizer.lr": {"distribution": "uniform"}},
            "A parameter has value, values, or min and max, but",
        ),
    ],
)
def test_a_value_that_cannot_be_trained_is_refused(tmp_path, monkeypatch, parameter, sentence):
    monkeypatch.setattr(wandb, "sweep", lambda *args, **settings: pytest.fail("created"))

    with pytest.raises(ValueError, match=re.escape(sentence)):
        run(sweep_file(tmp_path, parameters=parameter))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "guess"}, "method is one of bayes, random, grid, but"),
        ({"method": "bayes", "metric": None}, "method: bayes needs a metric, but"),
        ({"command": None}, "A sweep says method, parameters and command, but"),
    ],
)
def test_a_sweep_that_is_none_is_refused(tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(sweep_file(tmp_path, **changes))
    with pytest.raises(ValueError, match="There is no sweep in"):
        run(tmp_path / "none.yaml")


def test_without_a_key_there_is_no_sweep(monkeypatch, tmp_path):
    monkeypatch.setattr(wandb_auth, "resolve_mode", lambda mode: ("offline", "no API key found"))

    with pytest.raises(ValueError, match="A sweep of W&B exists online only .no API key found.: run `wandb login`"):
        run(sweep_file(tmp_path))


def test_it_is_created_and_worked_on(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(wandb_auth, "resolve_mode", lambda mode: ("online", "a key was found"))
    monkeypatch.setattr(wandb, "sweep", lambda sweep, **where: calls.append((sweep, where)) or "abc")
    monkeypatch.setattr(wandb, "agent", lambda name, **settings: calls.append((name, settings)))
    monkeypatch.setenv("PATH", "/usr/bin")
    file = sweep_file(tmp_path)
    where = {"entity": None, "project": STORED["project"]}

    assert run(file, "count=3") == "abc"
    assert calls[0] == (yaml.safe_load(file.read_text()), where)
    assert calls[1] == ("abc", {"count": 3, **where})


@pytest.mark.parametrize("rate", [1e-05, 0.01, 3, "1e-4"])
def test_what_the_agent_types_composes(rate):
    values = {
        "model": get_tiny_model(),
        "optimizer.lr": rate,
        "data.batch_size": 16,
        "trainer.max_epochs": 1,
        "test": False,
    }
    words = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    cfg = compose_config("train", [*words["args_no_hyphens"], "output_dir=logs"])
    validate_config(cfg)

    assert cfg.optimizer.lr == float(rate)
    assert cfg.test is False


@pytest.mark.slow
def test_a_job_of_the_agent_trains_in_a_folder_of_its_own(tmp_path):
    words = [
        "optimizer.lr=1e-05",
        "experiment=smoke",
        *(word for word in make_tiny_overrides(get_tiny_model()) if word != "logger=none"),
    ]
    command = shlex.split("/usr/bin/env python -m firstlight.train")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(tmp_path), "WANDB_MODE": "offline", "WANDB_RUN_ID": "chosen"}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH", "FIRSTLIGHT_CONFIG_PATH")}
    told = subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert told.returncode == 0, told.stderr
    (folder,) = (tmp_path / "logs" / "train").iterdir()
    assert len(list(folder.glob("wandb/offline-run-*-chosen"))) == 1
