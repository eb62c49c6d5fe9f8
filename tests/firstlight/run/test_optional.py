"""A failed optional part of a run costs one line."""

import json

import pytest

from firstlight import train
from firstlight.run.optional import continue_on_failure
from support.options import get_tiny_model, make_tiny_overrides


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (ConnectionResetError(), "ConnectionResetError"),
        (RuntimeError("first:\nsecond " + "x" * 999), "RuntimeError: first: second xx"),
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


def test_failing_plot_does_not_end_the_run(compose_cfg, tmp_path, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    for module in ("learning_curves", "confusion_matrix"):
        monkeypatch.setattr(f"firstlight.callbacks.{module}.write_figure", fail)
    monkeypatch.setattr("firstlight.callbacks.predictions.write_atomically", fail)
    train.main(compose_cfg(*make_tiny_overrides(get_tiny_model())))

    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    output = capsys.readouterr().out
    for name in ("learning_curves.png", "confusion_matrix.png", "predictions.json"):
        assert output.count(f"Warning: {name} failed (OSError: [Errno 28] No space left on device)") == 1
