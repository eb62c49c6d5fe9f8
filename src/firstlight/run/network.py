"""Recognize errors of the network, whichever library raised them."""

import socket
from urllib.error import HTTPError, URLError

from firstlight.run.errors import iter_error_chain

# Classes of libraries, by name: importing huggingface_hub, httpx or requests takes up to a second.
NETWORK_ERROR_NAMES = {
    "ConnectError",  # httpx
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "Timeout",  # requests
    "LocalEntryNotFoundError",  # huggingface_hub: not in its cache, and not reachable
    "OfflineModeIsEnabled",
    "ClientConnectorError",  # aiohttp
}


def is_network_error(error: BaseException) -> bool:
    """Return True if an error, or one that it was raised from, says that an address cannot be reached."""
    causes = list(iter_error_chain(error))
    # An answer such as 404 does not mean a failed network, and neither does the timeout of a file lock.
    if any(isinstance(cause, HTTPError) or type(cause).__module__.startswith("filelock") for cause in causes):
        return False
    return any(
        isinstance(cause, URLError | ConnectionError | TimeoutError | socket.gaierror)
        or NETWORK_ERROR_NAMES & {base.__name__ for base in type(cause).__mro__}
        for cause in causes
    )
