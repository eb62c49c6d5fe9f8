"""A damaged study file of an Optuna search: killed while writing, corrupt, missing or unreadable."""

import os
import re

import pytest

from firstlight.run.errors import CheckpointError
from support.optuna_search import end_at, load_trials, parse_values, run_search

optuna = pytest.importorskip("optuna", minversion="4.7", reason="the extra optuna is not installed")

from firstlight.sweep import optuna as optuna_sweep  # noqa: E402


@pytest.mark.parametrize("number", [0, 1])
def test_search_killed_while_it_wrote_to_the_study_resumes(tmp_path, number):
    study_path = tmp_path / optuna_sweep.STUDY_FILE
    run_search(tmp_path, n_trials=number)
    size = study_path.stat().st_size
    run_search(tmp_path, end_at(number, KeyboardInterrupt()), n_trials=number + 1)
    content = study_path.read_bytes()
    # Each line complete, without its end, and with its first byte only.
    starts = [match.end() for match in re.finditer(b"\n", content)]
    ends = sorted({*starts, *(start - 1 for start in starts), *(start + 1 for start in starts[:-1])})
    for end in [end for end in ends if end >= size]:
        study_path.write_bytes(content[:end])
        (((resumed, job),),) = (batch.items() for batch in run_search(tmp_path, n_trials=number + 1))

        assert resumed == number
        assert list(parse_values(job)) == ["seed", "lr", "size", "act"]
        assert [trial.state.name for trial in load_trials(tmp_path)] == ["COMPLETE"] * (number + 1)
        os.remove(tmp_path / str(number) / "run.json")


@pytest.mark.parametrize(
    "line", [b"\0\n", b"{}\n", b"[]\n", b'{"op_code":4}\n', b'{"op_code":4,"study_id":7}\n', b"\xff\n"]
)
@pytest.mark.parametrize("index", [0, 2, None])
def test_corrupt_study_of_a_search_is_named(tmp_path, line, index):
    run_search(tmp_path, n_trials=2)
    study_path = tmp_path / optuna_sweep.STUDY_FILE
    lines = study_path.read_bytes().splitlines(keepends=True)
    lines.insert(len(lines) if index is None else index, line)
    study_path.write_bytes(b"".join(lines))
    with pytest.raises(CheckpointError, match=r"study\.jsonl is corrupt \(.+\)\. Restore the file, or pass force=true"):
        run_search(tmp_path, n_trials=3)


@pytest.mark.parametrize("content", [None, b"", b'{"op_co'])
def test_search_without_its_study_does_not_start(tmp_path, content):
    run_search(tmp_path, n_trials=2)
    study_path = tmp_path / optuna_sweep.STUDY_FILE
    study_path.unlink()
    if content is not None:
        study_path.write_bytes(content)
    message = (
        r"contains trials, but study\.jsonl is missing or empty\. Restore the file, or pass force=true to start over"
    )
    with pytest.raises(CheckpointError, match=message):
        run_search(tmp_path, n_trials=3, seed=5)
    assert not study_path.exists() or study_path.read_bytes() == b""


def test_other_errors_of_optuna_are_not_called_corrupt_file(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise TypeError("unexpected argument")

    monkeypatch.setattr(optuna, "create_study", fail)
    with pytest.raises(TypeError, match="unexpected argument"):
        run_search(tmp_path, n_trials=1)


def test_unreadable_study_is_not_called_corrupt(tmp_path):
    (tmp_path / optuna_sweep.STUDY_FILE).mkdir()
    with pytest.raises(IsADirectoryError):
        run_search(tmp_path, n_trials=1)
