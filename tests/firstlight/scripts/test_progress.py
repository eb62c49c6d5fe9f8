"""Long work of the scripts shows a line every ten seconds; the intervals of the tests are shorter."""

import io
import re
import sys

import pytest

from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import progress

# Prints like pip, and ends once its status was shown: the test creates the file then.
FAKE_PIP = """
import pathlib, sys, time
print("Collecting first==1.0 (from -r base.lock)")
print("  Downloading first-1.0.whl (800 MB)")
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.005)
print("ERROR: no space left")
sys.exit(int(sys.argv[2]))
"""


class Log(io.StringIO):
    """A stream that creates a file as soon as a text was written to it."""

    def __init__(self, text, path, is_terminal=False):
        super().__init__()
        self.text, self.path, self.is_terminal = text, path, is_terminal

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        super().write(text)
        if self.text in self.getvalue():
            self.path.touch()


@pytest.fixture
def run_pip(monkeypatch, tmp_path):
    """Return a function that runs the fake pip, and returns its exit code and what was shown."""
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.01)
    monkeypatch.setattr(progress, "UPDATE_INTERVAL_S", 0.01)

    def run(text, code=0, prints_output=False, is_terminal=False):
        log = Log(text, tmp_path / "shown", is_terminal)
        monkeypatch.setattr(sys, "stderr", log)
        command = [sys.executable, "-c", FAKE_PIP, str(tmp_path / "shown"), str(code)]
        return progress.run("setup", command, prints_output), log.getvalue()

    return run


def test_log_gets_lines_that_say_what_pip_does(run_pip, capsys):
    code, log = run_pip("setup: 0 s, 1 package, Downloading first-1.0.whl (800 MB)\n")

    assert code == 0
    assert "\nERROR" not in log  # on success, the output itself is not printed
    assert capsys.readouterr().out == ""


def test_terminal_gets_one_line_that_is_removed(run_pip):
    _, shown = run_pip("\r\033[Ksetup: 0 s, 1 package, Downloading first-1.0.whl (800 MB)", is_terminal=True)

    assert "\n" not in shown
    assert shown.endswith("\r\033[K")


def test_failure_prints_the_last_lines_and_keeps_the_exit_code(run_pip):
    code, log = run_pip("Downloading", code=3)

    assert code == 3
    assert log.endswith("  Downloading first-1.0.whl (800 MB)\nERROR: no space left\n")


def test_output_of_a_check_is_printed(run_pip, capsys):
    code, log = run_pip("setup: 0 s\n", code=1, prints_output=True)

    assert code == 1
    assert re.fullmatch(r"(setup: 0 s\n)+", log)
    assert capsys.readouterr().out.splitlines()[-1] == "ERROR: no space left"


def test_short_work_prints_nothing(capsys):
    assert progress.run("check", [sys.executable, "-c", "print(1)"], prints_output=True) == 0
    assert capsys.readouterr() == ("1\n", "")


def test_every_slow_command_is_run_with_a_status():
    setup, makefile = (ROOT / "scripts/setup.sh").read_text(), (ROOT / "Makefile").read_text()

    assert "scripts/progress.py setup $installer" in setup
    assert not re.search(r"^\$install", setup, re.M)
    assert re.findall(r"scripts/progress.py --output (?:\"[^\"]*\"|\w+) \$\(PYTHON\) -P -m (\w+)", makefile) == [
        "mypy",
        "sphinx",
    ]
