"""Corrupt files at random, and check that they are rejected with a one-line message."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from firstlight.run.errors import UserError

# All examples of a test share its directory. Each example writes the file again.
fuzz = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def get_error_message(function) -> str | None:
    """Return the one-line message with which a function rejects its data; None if it raises no error."""
    try:
        function()
    except UserError as error:
        message = str(error)
    else:
        return None
    assert len(message.splitlines()) == 1
    return message


def flip_bytes(data, content: bytes) -> bytes:
    """Return the content of a file with some bytes changed, most of them near its start, or truncated."""
    corrupted = bytearray(content)
    positions = st.integers(0, len(corrupted) - 1) | st.integers(0, min(len(corrupted), 200) - 1)
    for position, value in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), max_size=4)):
        corrupted[position] = value
    return bytes(corrupted[: data.draw(st.just(len(corrupted)) | positions)])
