"""What tests of damaged data share: any damage, and one line that refuses it."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# The folder of a test is shared by its examples, each of which writes the file anew.
fuzz = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def get_error_message(call) -> str | None:
    """Return the one line in which a call refuses its data, or None where it works."""
    try:
        call()
    except ValueError as error:
        refusal = error
    else:
        return None
    assert type(refusal) is ValueError
    assert len(str(refusal).splitlines()) == 1
    return str(refusal)


def flip_bytes(data, whole: bytes) -> bytes:
    """Return a file with some bytes changed, most of them near its start, or cut off."""
    content = bytearray(whole)
    places = st.integers(0, len(content) - 1) | st.integers(0, min(len(content), 200) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = value
    return bytes(content[: data.draw(st.just(len(content)) | places)])
