"""A failed optional part of a run costs one line."""

import pytest

from firstlight.run.optional import continue_on_failure


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (ConnectionResetError(), "ConnectionResetError"),
        (RuntimeError("first\nsecond " + "x" * 999), "RuntimeError: first second xx"),
    ],
)
def test_failure_prints_one_line(capsys, error, cause):
    @continue_on_failure("plot.png")
    def plot():
        raise error

    assert plot() is None
    assert plot() is None  # also the second time
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"Warning: plot.png failed ({cause}")
    assert lines[0].endswith("). The run continues without it.")
    assert len(lines[0]) < 300


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_stop_is_not_a_failure(stop):
    with pytest.raises(stop), continue_on_failure("plot.png"):
        raise stop
