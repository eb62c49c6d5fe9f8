"""The address of a local page, and whether this machine can show it."""

import os
import socket
import sys
from typing import Any

from omegaconf import DictConfig

from firstlight.run.errors import ConfigError, invalid_value

HOST = "127.0.0.1"
# Ports that are tried. The first free one is used, so that an open page finds the server again after a restart.
NUM_PORTS, MAX_PORT = 10, 65_535
DEFAULT_PORT = 8420
# Each open page has a connection, and a connection is an open file.
MAX_OPEN_FILES = 4096


def validate_browser(cfg: DictConfig) -> None:
    """Check open_browser.

    Raises:
        ConfigError: If it is neither true nor false.
    """
    if not isinstance(cfg.open_browser, bool):
        fix = "Use open_browser=false."
        raise ConfigError(invalid_value("open_browser", cfg.open_browser, "true or false", fix))


def bind_socket(port: Any) -> socket.socket:
    """Return a socket that listens on a port of this machine only.

    Args:
        port: The port. If it is not free, the next free one is used, as by Jupyter.

    Raises:
        ConfigError: If the port is not valid, or none of `NUM_PORTS` is free.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= MAX_PORT:
        raise ConfigError(
            invalid_value("port", port, f"a number from 1 to {MAX_PORT}", f"Use e.g. port={DEFAULT_PORT}.")
        )
    last = min(port + NUM_PORTS - 1, MAX_PORT)
    for candidate in range(port, last + 1):
        listener = socket.socket()
        # Otherwise, the port is not free for a minute after a restart.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, candidate))
            listener.listen()  # a browser that connects before the server has started waits
        except OSError as error:
            listener.close()
            reason = error.strerror
        else:
            return listener
    raise ConfigError(f"Cannot listen on any port from {port} to {last}: {reason}. Use another port.")


def has_browser() -> bool:
    """Return True if this process runs on a desktop. A browser in a terminal cannot show the page."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def raise_open_file_limit() -> None:
    """Allow more open connections than the default of 1,024, or 256 on macOS."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ImportError, OSError, ValueError):  # Windows, or a limit of the system
        return
