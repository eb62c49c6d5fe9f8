"""Tests of the arguments of `make demo`, which are checked before the model is loaded."""

import pytest

from firstlight.config.compose import compose_config
from firstlight.demo import __main__ as demo
from firstlight.run.errors import UserError
from support.exports import train_for_export


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return train_for_export("tiny_mlp", tmp_path_factory.mktemp("demo") / "run")[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["port=0"], "Invalid value for port: expected a number from 1 to 65535, got 0. Use e.g. port="),
        (["open_browser=maybe"], "Invalid value for open_browser: expected true or false, got 'maybe'."),
        (["trainer.accelerator=tpu"], "Invalid value for trainer.accelerator"),
    ],
)
def test_invalid_arguments_raise_one_line(run_dir, overrides, message):
    with pytest.raises(UserError) as error:
        demo.main(compose_config("demo", [f"run={run_dir}", *overrides]))

    assert str(error.value).startswith(message)


def test_missing_package_is_one_line(run_dir, monkeypatch):
    monkeypatch.setattr(demo, "is_installed", lambda package: package != "uvicorn")

    with pytest.raises(UserError, match="^make demo requires the 'uvicorn' package, which is not installed. Install"):
        demo.main(compose_config("demo", [f"run={run_dir}"]))


def test_demo_requires_a_run():
    with pytest.raises(UserError, match="demo requires a trained model. Pass run=logs/train/<run> or ckpt=<file>"):
        compose_config("demo", [])


def test_loggers_of_the_run_are_not_used(run_dir):
    with pytest.raises(UserError, match="logger"):
        compose_config("demo", [f"run={run_dir}", "logger=wandb"])
