"""Only an address that cannot be reached counts as a failure of the network."""

from urllib.error import HTTPError, URLError

import filelock
import pytest

from firstlight.run.network import is_network_error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (URLError("no route"), True),
        (ConnectionResetError(), True),
        (HTTPError("https://example.org/a", 404, "Not Found", None, None), False),
        (filelock.Timeout("a.lock"), False),
        (ValueError("a"), False),
    ],
)
def test_answers_and_locks_are_no_failure_of_the_network(error, expected):
    assert is_network_error(error) is expected
