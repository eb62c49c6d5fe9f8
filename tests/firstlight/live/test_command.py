"""Tests of the arguments of `make live`."""

import socket

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
def used_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


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


def test_next_free_port_is_used(used_port):
    with live.bind_socket(used_port) as listener:
        host, port = listener.getsockname()

    assert host == "127.0.0.1"
    assert used_port < port < used_port + live.NUM_PORTS


def test_ports_in_use_are_one_line(used_port, monkeypatch):
    monkeypatch.setattr(live, "NUM_PORTS", 1)

    with pytest.raises(UserError) as error:
        live.bind_socket(used_port)
    expected = f"Cannot listen on any port from {used_port} to {used_port}: Address already in use. Use another port."
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1.2.3.4"}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "1.2.3.4"}, False),
    ],
)
def test_browser_is_opened_on_a_desktop_only(monkeypatch, platform, environment, expected):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)

    assert live.has_browser() is expected
