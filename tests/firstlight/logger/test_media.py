"""Images and tables reach each logger that accepts them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from firstlight.logger.media import format_markdown_table, log_image, log_table


class Recorder:
    """A logger that accepts images and tables."""

    def __init__(self):
        self.calls = []

    def log_image(self, key, images, step=None):
        self.calls.append((key, images, step))

    def log_table(self, key, columns, data, step=None):
        self.calls.append((key, columns, data, step))


@pytest.mark.parametrize("is_global_zero", [True, False])
def test_other_loggers_are_left_out(is_global_zero):
    recorder = Recorder()
    trainer = SimpleNamespace(loggers=[object(), recorder], is_global_zero=is_global_zero, global_step=7)
    log_image(trainer, "test/plot", [Path("run/plot.png")])
    log_table(trainer, "test/classes", ("class", "f1"), [["cat", 0.5]])

    expected = [("test/plot", ["run/plot.png"], 7), ("test/classes", ["class", "f1"], [["cat", 0.5]], 7)]
    assert recorder.calls == (expected if is_global_zero else [])


def test_markdown_table_escapes_its_separator():
    table = format_markdown_table(["class", "f1"], [["a|b\nc", 1 / 3]])

    assert table == "| class | f1 |\n| --- | --- |\n| a\\|b c | 0.3333 |"
