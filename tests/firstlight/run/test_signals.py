"""Stop signals raise SystemExit at any moment, and commands then exit with one line and 128 + signal."""

import os
import signal
import time
import weakref

import pytest

from firstlight.run import signals
from firstlight.run.signals import defer_stop_signals, exit_on_stop_signals, get_received_signal, handle_stop_signal

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0)  # the handler runs at the latest here


@pytest.mark.parametrize("number", NUMBERS)
def test_signal_ends_context_with_one_line_and_code(number, capsys):
    before = {number: signal.getsignal(number) for number in NUMBERS}
    cleaned_up = []
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals("train"):
        try:
            send(number)
        finally:
            cleaned_up.append(True)

    assert stop.value.code == 128 + number
    assert capsys.readouterr().err == f"train: stopped by {signal.Signals(number).name}.\n"
    assert cleaned_up == [True]
    assert {number: signal.getsignal(number) for number in NUMBERS} == before
    assert get_received_signal() == 0


def test_only_outermost_context_exits(capsys):
    steps = []
    with pytest.raises(SystemExit), exit_on_stop_signals("sweep"):
        try:
            with exit_on_stop_signals("train"):
                send(signal.SIGTERM)
        finally:
            steps.append(get_received_signal())

    assert steps == [signal.SIGTERM]
    assert capsys.readouterr().err == "sweep: stopped by SIGTERM.\n"


def test_error_that_replaces_stop_exits_with_signal(capsys):
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals("train"):
        try:
            send(signal.SIGTERM)
        except SystemExit:
            raise SystemExit(1) from None  # as Lightning does after Ctrl-C

    assert stop.value.code == 143
    assert capsys.readouterr().err == "train: stopped by SIGTERM.\n"


def test_swallowed_signal_is_repeated(monkeypatch):
    monkeypatch.setattr(signals, "REPEAT_INTERVAL_S", 0.05)
    swallowed = []
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals("train"):
        try:
            send(signal.SIGHUP)
        except BaseException as error:
            swallowed.append(error)
        time.sleep(5)

    assert stop.value.code == 129
    assert len(swallowed) == 1


def test_signal_in_destructor_is_repeated_without_output(capsys):
    class Value:
        pass

    value = Value()
    reference = weakref.ref(value, lambda _: send(signal.SIGTERM))
    started = time.monotonic()
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals("train"):
        del value
        time.sleep(5)

    assert reference() is None
    assert stop.value.code == 143
    assert time.monotonic() - started < 3
    assert capsys.readouterr().err == "train: stopped by SIGTERM.\n"


def test_deferred_signal_raises_at_the_end():
    steps = []
    with pytest.raises(SystemExit), exit_on_stop_signals("train"):
        with defer_stop_signals():
            with defer_stop_signals():
                send(signal.SIGINT)
                steps.append("inner")
            steps.append("outer")
        steps.append("not reached")

    assert steps == ["inner", "outer"]


@pytest.mark.parametrize("code", [0, 1, 2, "text", None])
def test_other_exit_codes_are_unchanged(code, capsys):
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals("train"):
        raise SystemExit(code)

    assert stop.value.code == code
    assert capsys.readouterr().err == ""


def test_stop_of_another_handler_adds_no_line(capsys):
    with pytest.raises(SystemExit) as stop, exit_on_stop_signals("train"):
        raise SystemExit(143)  # a training run that has printed its checkpoint

    assert stop.value.code == 143
    assert capsys.readouterr().err == ""


def test_handler_outside_of_a_command_raises():
    with pytest.raises(SystemExit) as stop:
        handle_stop_signal(signal.SIGTERM, None)

    signals._state.received = []
    assert stop.value.code == 143
