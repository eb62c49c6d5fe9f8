"""DataLoader workers on real machines: few files, scripts without a guard, and waits."""

import multiprocessing
import resource
import sys
import time
import types

import pytest

from firstlight import api
from firstlight.data import dataloader, wait
from firstlight.data.dataloader import validate_main_script, validate_num_workers
from firstlight.run.errors import ConfigError, HardwareError


@pytest.fixture
def few_files(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 256))


def test_workers_that_need_too_many_files_are_rejected(few_files):
    validate_num_workers(6)  # 64 + 6 * 32 = 256
    validate_num_workers(None)
    validate_num_workers(0)
    with pytest.raises(HardwareError, match="data.num_workers=7 needs about 288 open files, .* may open 256"):
        validate_num_workers(7)


def test_default_number_of_workers_fits_the_limit(few_files, monkeypatch):
    monkeypatch.setattr(dataloader, "count_available_cpus", lambda: 16)
    monkeypatch.setattr(sys, "platform", "linux")

    assert dataloader.get_default_num_workers() == 6


@pytest.mark.parametrize(
    ("code", "method", "num_workers", "is_valid"),
    [
        ("train()", "spawn", 1, False),
        ("train()", "forkserver", 1, False),
        ("train()", "fork", 1, True),
        ("train()", "spawn", 0, True),
        ("if __name__ == '__main__': train()", "spawn", 1, True),
        (None, "spawn", 1, True),  # a notebook
    ],
)
def test_script_without_guard_is_rejected(tmp_path, monkeypatch, code, method, num_workers, is_valid):
    main = types.ModuleType("__main__")
    if code is not None:
        main.__file__ = str(tmp_path / "mine.py")
        (tmp_path / "mine.py").write_text(code)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)

    if is_valid:
        validate_main_script(num_workers)
    else:
        with pytest.raises(ConfigError, match="under `if __name__ == '__main__':`, or use data.num_workers=0"):
            validate_main_script(num_workers)


def test_worker_that_imports_the_script_exits_with_one_line(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)

    with pytest.raises(SystemExit, match="Put the code of the script under `if __name__ == '__main__':`"):
        api.create([])


def test_long_wait_for_a_batch_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(wait, "REPORT_AFTER_S", 0.1)
    monkeypatch.setattr(wait, "CHECK_INTERVAL_S", 0.02)

    def iter_slowly():
        yield 1
        time.sleep(0.4)
        yield 2

    assert list(wait.report_long_waits(iter_slowly())) == [1, 2]
    assert capsys.readouterr().out == "Waiting for a batch of the DataLoader workers for 0 s.\n"


def test_time_of_the_training_step_is_no_wait(monkeypatch, capsys):
    monkeypatch.setattr(wait, "REPORT_AFTER_S", 0.1)
    monkeypatch.setattr(wait, "CHECK_INTERVAL_S", 0.02)
    for _ in wait.report_long_waits([1, 2]):
        time.sleep(0.2)

    assert capsys.readouterr().out == ""
