"""json=true of the commands: the object of an error, of several jobs, and what it does not change."""

import json
import os
import sys

import pytest

from firstlight import evaluate, train
from firstlight.cli.command import command
from firstlight.cli.errors import print_error
from firstlight.config.options import list_root_configs, load_yaml
from firstlight.run import json_output
from firstlight.run.errors import ConfigError, HardwareError, invalid_value
from support.options import get_tiny_model, make_tiny_overrides


@pytest.fixture
def run_json(tmp_path, monkeypatch, capfd):
    """Return a function that runs a command with json=true in this process, and returns its object."""
    monkeypatch.chdir(tmp_path)

    def run(main, *arguments: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["command", *arguments, "json=true"])
        code, stdout = 0, os.dup(1)
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        os.dup2(stdout, 1)  # A process leaves it redirected until its end.
        os.close(stdout)
        printed = json.loads(capfd.readouterr().out)
        assert printed["exit_code"] == code
        assert printed.keys() == {"command", "exit_code", "result", "error"}
        return printed

    return run


@command("train")
def return_seed(cfg):
    print("progress")
    if cfg.seed == 3:
        raise HardwareError("Seed 3 is not available. Use seed=1.")
    if cfg.seed == 4:
        raise RuntimeError("an internal\nerror")
    if cfg.seed == 5:
        raise RuntimeError("CUDA out of memory")
    return {"seed": cfg.seed}


# Arguments, and the exit code, type, key, value and fix of the error.
ERRORS = [
    (["data.batchsize=8"], 2, "ConfigError", "data.batchsize", None, "Did you mean 'data.batch_size'?"),
    (["lr=1"], 2, "ConfigError", "lr", None, "Did you mean 'optimizer.lr'?"),
    (["experiment=smok"], 2, "ConfigError", "experiment", "smok", "Did you mean experiment=smoke? Available: "),
    (["a b"], 2, "ConfigError", None, "a b", "Use the form key=value, and quote special characters."),
    (["data.batch_size=8,16"], 2, "ConfigError", "data.batch_size", "8,16", "Run `make sweep`, or pass a list with"),
    (["resume=logs/nope"], 2, "CheckpointError", None, None, "Use the run directory printed by `make train`."),
    (["--flag"], 2, "ConfigError", None, None, "Pass overrides as key=value, and list the flags with --hydra-help."),
    (["seed=3"], 1, "HardwareError", None, None, "Use seed=1."),
    (["seed=4"], 1, "RuntimeError", None, None, None),
    (["seed=5"], 1, "OutOfMemoryError", "data.batch_size", None, "Halve data.batch_size."),
]


@pytest.mark.parametrize(("arguments", "code", "kind", "key", "value", "fix"), ERRORS)
def test_error_has_the_parts_of_its_message(run_json, arguments, code, kind, key, value, fix):
    printed = run_json(return_seed, "model=tiny_images", *arguments)
    error = printed["error"]

    assert (printed["command"], printed["exit_code"], printed["result"]) == ("train", code, None)
    assert (error["type"], error["key"], error["value"]) == (kind, key, value)
    assert (error["fix"] or "").startswith(fix or "")
    assert (error["fix"] or "") in error["message"]
    assert "\n" not in error["message"]


def test_invalid_value_is_stated(run_json):
    error = run_json(train.main, "model=tiny_images", "data.batch_size=x")["error"]

    assert error == {
        "type": "ConfigError",
        "message": "Invalid value for data.batch_size: expected an integer, got 'x'.",
        "key": "data.batch_size",
        "value": "x",
        "fix": None,
    }


def test_required_run_is_named(run_json):
    error = run_json(evaluate.main)["error"]

    assert (error["key"], error["fix"]) == ("run", "Pass run=logs/train/<run> or ckpt=<file>.")


def test_result_is_what_the_function_returns(run_json):
    assert run_json(return_seed, "model=tiny_images", "seed=7") == {
        "command": "train",
        "exit_code": 0,
        "result": {"seed": 7},
        "error": None,
    }


def test_multirun_states_each_job(run_json):
    printed = run_json(return_seed, "-m", "model=tiny_images", "seed=1,3", "hydra.sweep.dir=sweep")

    assert printed["exit_code"] == 1
    assert printed["error"]["message"] == "Seed 3 is not available. Use seed=1."
    assert printed["result"]["jobs"] == [
        {"run_dir": "sweep/0", "exit_code": 0, "result": {"seed": 1}},
        {"run_dir": "sweep/1", "exit_code": 1, "result": None},
    ]


def test_other_spelling_is_an_invalid_value(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", "model=tiny_images", "json=yes"])
    with pytest.raises(SystemExit) as stop:
        train.main()

    assert stop.value.code == 2
    message = "train: Invalid value for json: expected true or false, got 'yes'. Use json=true.\n"
    assert capsys.readouterr().err == message


@pytest.mark.slow
def test_help_prints_no_text_to_stdout(run_json):
    assert run_json(train.main, "--help")["result"] is None


@pytest.mark.parametrize("file", list_root_configs(), ids=lambda file: file.stem)
def test_each_root_config_has_the_key(file):
    assert load_yaml(file)["json"] is False


def test_secret_value_of_an_error_is_masked(monkeypatch, capfd):
    with json_output.print_as_json("train", True):
        print_error(ConfigError(invalid_value("logger.wandb.api_key", "abc-123", "a string")), "train")
        json_output.update_result()
        output = json_output._output
        assert output is not None
        assert output.error is not None
        assert output.error["value"] == "***"
    capfd.readouterr()


@pytest.mark.slow
def test_resume_accepts_json_and_the_run_does_not_record_it(run_json, tmp_path):
    overrides = [*make_tiny_overrides(get_tiny_model()), "output_dir=run", "test=false"]
    first = run_json(train.main, *overrides)
    resumed = run_json(train.main, "resume=run", "trainer.max_epochs=2")
    record = json.loads((tmp_path / "run" / "run.json").read_text())

    assert first["result"].keys() == {"run_dir", "status", "metrics", "checkpoints"}
    assert (resumed["result"]["run_dir"], resumed["result"]["status"]) == ("run", "finished")
    assert not [override for override in record["overrides"] if override.startswith("json")]
    assert "json=true" not in record["command"]
    # The output of the run is logged as without json=true.
    assert "run_dir" in (tmp_path / "run" / "output.log").read_text()
