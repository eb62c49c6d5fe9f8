"""Tests of the address of a local page."""

import socket

import pytest

from firstlight.run.errors import UserError
from firstlight.web import listen


@pytest.fixture
def used_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_next_free_port_is_used(used_port):
    with listen.bind_socket(used_port) as listener:
        host, port = listener.getsockname()

    assert host == "127.0.0.1"
    assert used_port < port < used_port + listen.NUM_PORTS


def test_ports_in_use_are_one_line(used_port, monkeypatch):
    monkeypatch.setattr(listen, "NUM_PORTS", 1)

    with pytest.raises(UserError) as error:
        listen.bind_socket(used_port)
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

    assert listen.has_browser() is expected
