"""Run the server of the demo until a stop signal arrives."""

import socket

import uvicorn

from firstlight.demo.predictor import Predictor
from firstlight.demo.server import make_app
from firstlight.web.server_config import make_server_config


def serve(predictor: Predictor, name: str, listener: socket.socket) -> None:
    """Serve the page of a model.

    Args:
        predictor: The model.
        name: Name of the run.
        listener: A bound socket.
    """
    uvicorn.Server(make_server_config(make_app(predictor, name))).run(sockets=[listener])
