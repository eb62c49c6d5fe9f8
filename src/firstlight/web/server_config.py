"""Options of the server of a local page."""

from typing import Any

import uvicorn


def make_server_config(app: Any) -> uvicorn.Config:
    """Return the options of a server that logs errors only.

    Args:
        app: The ASGI application.
    """
    return uvicorn.Config(
        app,
        access_log=False,
        log_level="error",
        proxy_headers=False,  # nothing that a client sends changes the address of the page
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
