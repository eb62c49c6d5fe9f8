"""Stop signals raise SystemExit at any moment, and commands then exit with one line and 128 + signal."""

import os
import signal
import time
import weakref

import pytest

from firstlight.run import signals
from firstlight.run.signals import defer_stop_signals, exit_on_stop_signals, get_received_signal, handle_stop_signal

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]


@pytest.fixture(autouse=True)
def _hangup_is_not_ignored():
    """Let SIGHUP have an effect, also if the tests run under nohup."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0)  # the handler runs at the latest here


def run_until_stopped(function, name="train"):
    """Call a function in the context of a command, and return the exit code."""
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals(name):
        function()
    return stop.value.code


@pytest.mark.parametrize("number", NUMBERS)
def test_signal_ends_context_with_one_line_and_code(number, capsys):
    before = {number: signal.getsignal(number) for number in NUMBERS}
    cleaned_up = []

    def run():
        try:
            send(number)
        finally:
            cleaned_up.append(True)

    assert run_until_stopped(run) == 128 + number
    assert capsys.readouterr().err == f"train: stopped by {signal.Signals(number).name}.\n"
    assert cleaned_up == [True]
    assert {number: signal.getsignal(number) for number in NUMBERS} == before
    assert get_received_signal() == 0


def test_only_outermost_context_exits(capsys):
    steps = []

    def run():
        try:
            with exit_on_stop_signals("train"):
                send(signal.SIGTERM)
        finally:
            steps.append(get_received_signal())

    assert run_until_stopped(run, "sweep") == 143
    assert steps == [signal.SIGTERM]
    assert capsys.readouterr().err == "sweep: stopped by SIGTERM.\n"


def test_error_that_replaces_stop_exits_with_signal(capsys):
    def run():
        try:
            send(signal.SIGTERM)
        except SystemExit:
            raise SystemExit(1) from None  # as Lightning does after Ctrl-C

    assert run_until_stopped(run) == 143
    assert capsys.readouterr().err == "train: stopped by SIGTERM.\n"


def test_swallowed_signal_is_repeated(monkeypatch):
    monkeypatch.setattr(signals, "REPEAT_INTERVAL_S", 0.05)
    swallowed = []

    def run():
        try:
            send(signal.SIGHUP)
        except BaseException as error:
            swallowed.append(error)
        time.sleep(5)

    assert run_until_stopped(run) == 129
    assert len(swallowed) == 1


def test_signal_in_destructor_is_repeated_without_output(capsys):
    class Value:
        pass

    values = [Value()]
    reference = weakref.ref(values[0], lambda _: send(signal.SIGTERM))
    started = time.monotonic()

    def run():
        values.clear()
        time.sleep(5)

    assert run_until_stopped(run) == 143
    assert reference() is None
    assert time.monotonic() - started < 3
    assert capsys.readouterr().err == "train: stopped by SIGTERM.\n"


def test_deferred_signal_raises_at_the_end():
    steps = []

    def defer():
        with defer_stop_signals():
            with defer_stop_signals():
                send(signal.SIGINT)
                steps.append("inner")
            steps.append("outer")
        steps.append("not reached")

    run_until_stopped(defer)

    assert steps == ["inner", "outer"]


@pytest.mark.parametrize("code", [0, 1, 2, "text", None])
def test_other_exit_codes_are_unchanged(code, capsys):
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals("train"):
        raise SystemExit(code)

    assert stop.value.code == code
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "line"), [("train", ""), ("benchmark", "benchmark: stopped by SIGTERM.\n")])
def test_training_run_that_has_printed_its_checkpoint_adds_no_line(name, line, capsys):
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals(name):
        raise SystemExit(143)

    assert stop.value.code == 143
    assert capsys.readouterr().err == line


def test_handler_outside_of_a_command_raises():
    with pytest.raises(SystemExit) as stop:
        handle_stop_signal(signal.SIGTERM, None)

    signals._state.received = []
    assert stop.value.code == 143
