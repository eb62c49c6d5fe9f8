"""A run directory on a file system without locks can be used, with a warning."""

import errno
import fcntl

import pytest

from firstlight.run.errors import CheckpointError
from firstlight.run.lock import acquire_run_lock, is_unlocked, wait_for_lock


def deny_locks(monkeypatch, number):
    def fail(descriptor, operation):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", fail)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_file_system_without_locks_prints_a_warning(tmp_path, monkeypatch, capsys, number):
    deny_locks(monkeypatch, number)
    with acquire_run_lock(tmp_path):
        pass

    assert capsys.readouterr().out.count(f"Warning: the file system of {tmp_path} does not support locks.") == 1
    assert is_unlocked(tmp_path)


def test_other_errors_of_a_lock_are_raised(tmp_path, monkeypatch):
    deny_locks(monkeypatch, errno.EIO)

    with pytest.raises(OSError, match="no locks here"), acquire_run_lock(tmp_path):
        pass


def test_held_lock_is_an_error(tmp_path):
    with (
        acquire_run_lock(tmp_path),
        pytest.raises(CheckpointError, match="is locked by another process"),
        acquire_run_lock(tmp_path),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_work_is_done_without_a_lock_if_there_is_none(tmp_path, monkeypatch, number):
    deny_locks(monkeypatch, number)

    with wait_for_lock(tmp_path / "new" / "a.lock"):
        pass


def test_lock_file_is_removed(tmp_path):
    with wait_for_lock(tmp_path / "new" / "a.lock"):
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.lock"]

    assert list((tmp_path / "new").iterdir()) == []
