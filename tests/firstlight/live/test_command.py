"""Tests of the arguments of `make live`."""

import pytest
from hydra import compose, initialize_config_dir

from firstlight.config.hydra_version import VERSION_BASE
from firstlight.config.options import CONFIG_DIR
from firstlight.live import __main__ as live
from firstlight.run.errors import UserError

INVALID_ARGUMENTS = [
    (["runs={tmp}/none"], "Directory {tmp}/none does not exist. Use "),
    (["runs=[]"], "Invalid value for runs: expected a directory or a list of directories, got []. Use e.g. runs="),
    (["runs={tmp}", "port=0"], "Invalid value for port: expected a number from 1 to 65535, got 0. Use e.g. port=8420."),
    (["runs={tmp}", "port=true"], "Invalid value for port: expected a number from 1 to 65535, got true."),
    (
        ["runs={tmp}", "open_browser=maybe"],
        "Invalid value for open_browser: expected true or false, got 'maybe'.",
    ),
]


def compose_live(*overrides):
    with initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        return compose("live", list(overrides))


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(live, "is_installed", lambda package: True)


@pytest.mark.parametrize(("overrides", "message"), INVALID_ARGUMENTS)
def test_invalid_arguments_raise_one_line(tmp_path, installed, overrides, message):
    values = {"tmp": tmp_path}
    with pytest.raises(UserError) as error:
        live.main(compose_live(*(override.format(**values) for override in overrides)))

    assert str(error.value).startswith(message.format(**values))
    assert "\n" not in str(error.value)


def test_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "is_installed", lambda package: package != "uvicorn")

    with pytest.raises(
        UserError, match="^make live requires the 'uvicorn' package, which is not installed. Install it"
    ):
        live.main(compose_live(f"runs={tmp_path}"))
