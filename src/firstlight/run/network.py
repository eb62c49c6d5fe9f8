"""Recognize errors of the network, whichever library raised them."""

import socket
from collections.abc import Iterator
from urllib.error import HTTPError, URLError

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
    # An answer such as 404 is no failure of the network, and the timeout of a file lock is none.
    if any(
        isinstance(cause, HTTPError) or type(cause).__module__.startswith("filelock") for cause in iter_causes(error)
    ):
        return False
    return any(
        isinstance(cause, URLError | ConnectionError | TimeoutError | socket.gaierror)
        or NETWORK_ERROR_NAMES & {base.__name__ for base in type(cause).__mro__}
        for cause in iter_causes(error)
    )


def iter_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that it was raised from, the last one first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
