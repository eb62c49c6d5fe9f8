"""Run the server until a stop signal arrives."""

import asyncio
import socket
from pathlib import Path
from types import FrameType

import uvicorn

from firstlight.live.server import Hub, make_app
from firstlight.web.server_config import make_server_config


class LiveServer(uvicorn.Server):
    """A server that ends the streams of all pages when it is stopped; otherwise it would wait for them.

    Args:
        config: The options of the server.
        hub: The streams.
    """

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self.hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the server at Ctrl-C or SIGTERM."""
        super().handle_exit(sig, frame)
        asyncio.get_running_loop().call_soon_threadsafe(self.hub.close)


def serve(roots: list[Path], listener: socket.socket) -> None:
    """Serve the page of the runs in some directories.

    Args:
        roots: The directories.
        listener: A bound socket.
    """
    app, hub = make_app(roots)
    LiveServer(make_server_config(app), hub).run(sockets=[listener])
