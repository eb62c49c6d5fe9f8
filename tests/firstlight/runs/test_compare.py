"""`make runs compare=[<run>,<run>]`: how two runs differ."""

import json

import pytest

from firstlight.run.errors import UserError
from support.runs import list_runs, write_provenance, write_run


def test_differences_between_two_runs_are_printed_and_returned(tmp_path, capsys):
    first = write_run(tmp_path / "a", ["seed=0", "name=x"], accuracy=0.5)
    second = write_run(tmp_path / "b", ["seed=1", "name=y"], accuracy=0.75)
    config = "output_dir: {0}\nmodel: {{width: {1}}}\ncallbacks: {{last: {{dirpath: {0}/checkpoints}}}}\n"
    write_provenance(first, "+a\n", "torch==2.14\nnumpy==2.0\n", config.format("old", 3))
    write_provenance(
        second, "+\x1b[31mb\n", "torch==2.15\nnumpy==2.0\n", config.format("new", 4), git={"commit": "f" * 40}
    )
    result = list_runs(f"runs={tmp_path}", "compare=[a,b]")
    lines = capsys.readouterr().out.splitlines()

    assert result["differences"] == {
        "metrics": {"test/accuracy": ["0.5", "0.75"], "test/loss": ["0.5", "0.25"]},
        "overrides": {"seed": ["0", "1"]},
        "config": {"model.width": ["3", "4"]},
        "source code": {"commit": ["0123456789abcdef", "f" * 40], "uncommitted changes": ["yes", None]},
        "packages": {"torch": ["2.14", "2.15"]},
        "machine": {},
    }
    assert result["diff_files"] == [str(run_dir / "provenance/uncommitted.diff") for run_dir in (first, second)]
    assert [run["run_dir"] for run in result["runs"]] == [str(first), str(second)]
    assert lines[0].split() == ["key", str(first), str(second)]
    assert lines[5].split() == ["source", "code:", "commit", "0123456789abcdef", "f" * 40]
    assert json.loads(json.dumps(result)) == result


def test_name_of_a_run_may_be_a_number(tmp_path):
    for number in (0, 1):
        write_run(tmp_path / str(number), [f"seed={number}"])

    assert list_runs(f"runs={tmp_path}", "compare=[0,1]")["differences"]["overrides"] == {"seed": ["0", "1"]}


def test_equal_runs_have_no_differences(tmp_path, capsys):
    for name in ("a", "b"):
        write_run(tmp_path / name)
    list_runs(f"compare=[{tmp_path}/a,{tmp_path}/b]", f"runs={tmp_path}")

    assert capsys.readouterr().out == f"No differences between {tmp_path}/a and {tmp_path}/b.\n"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "[a]",
            "Invalid value for compare: expected a list of two runs, got ['a']. Use e.g. compare=[logs/train/<run>,",
        ),
        ("3", "Invalid value for compare: expected a list of two runs, got 3. Use e.g. compare=[logs/train/<run>,"),
        ("[a,none]", "No run found in none. Use a run directory that `make runs columns=run_dir` lists."),
    ],
)
def test_invalid_comparison_is_one_line(tmp_path, value, message):
    write_run(tmp_path / "a")
    with pytest.raises(UserError) as error:
        list_runs(f"runs={tmp_path}", f"compare={value}")

    assert str(error.value).startswith(message)
