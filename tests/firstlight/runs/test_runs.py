"""Tests of `make runs`: the table, its filter and order, and the returned comparison."""

import contextlib
import json
import sys

import pytest
from filelock import FileLock

from firstlight.run.errors import ConfigError
from firstlight.run.files import SWEEP_FILE
from firstlight.runs import __main__ as runs
from firstlight.runs import table
from firstlight.runs.columns import format_cell
from firstlight.runs.load import load_run, read_progress
from support.runs import HOSTILE, list_runs, write_logs, write_run


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    root = write_logs(tmp_path_factory.mktemp("runs") / "logs")
    jobs = [[f"data.batch_size={size}", f"seed={seed}"] for size in (16, 32, 64) for seed in (0, 1)]
    (root / "sweep/now" / SWEEP_FILE).write_text(json.dumps({"overrides": [], "jobs": jobs}))
    return root


def list_names(*overrides):
    return [run["name"] for run in list_runs(*overrides)["runs"]]


def test_table_has_a_row_for_each_run_and_all_columns_in_a_pipe(logs, capsys):
    list_runs(f"runs={logs}")
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].split()[:5] == ["run", "status", "epoch", "data.batch_size", "seed"]
    assert lines[0].split()[-5:] == ["samples/s", "duration", "commit", "started", "reason"]
    assert [line.split()[0] for line in lines[1:5]] == [f"sweep/now/{number}_x" for number in (3, 2, 1, 0)]
    assert lines[7].endswith("  run.json is incomplete or not valid JSON")
    assert lines[8] == "7 runs (4 finished, 1 killed, 1 failed, 1 corrupt)"
    assert lines[9] == f"sweep {logs}/sweep/now: 2 not started of 6 jobs"
    # All cells of a column start, or end, at the same position.
    assert {line.index("finished") for line in lines[1:5]} == {lines[0].index("status")}
    assert "\t" not in "".join(lines)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sweep finished", ["sweep/now/3_x", "sweep/now/2_x", "sweep/now/1_x", "sweep/now/0_x"]),
        ("status=failed", ["train/failed"]),
        ("status!=finished deep", ["train/running", "train/failed"]),
        ("data.batch_size=16 seed=0", ["sweep/now/0_x"]),
        ("test/accuracy>0.6", ["sweep/now/3_x", "sweep/now/2_x"]),
        ("test/accuracy>=0.6 test/loss>0.25", ["sweep/now/2_x", "sweep/now/1_x"]),
        ("commit= status=corrupt", ["train/half"]),
        ("FAILED", ["train/failed"]),
        ("nothing", []),
    ],
)
def test_filter_selects_by_words_and_conditions(logs, text, names):
    assert list_names(f"runs={logs}", f"filter={text}") == names


@pytest.mark.parametrize(
    ("sort", "first", "last"),
    [
        ("started", "sweep/now/3_x", "train/half"),
        ("test/accuracy", "sweep/now/3_x", "train/half"),
        ("+test/accuracy", "sweep/now/0_x", "train/half"),
        ("test/loss", "sweep/now/3_x", "train/half"),
        ("-test/loss", "sweep/now/0_x", "train/half"),
        ("name", "sweep/now/0_x", "train/running"),
    ],
)
def test_sort_puts_the_best_first_and_missing_values_last(logs, sort, first, last):
    names = list_names(f"runs={logs}", f"sort={sort}")

    assert (names[0], names[-1]) == (first, last)


def test_text_is_sorted_in_natural_order(tmp_path):
    for name in ("a10", "a9"):
        write_run(tmp_path / name)

    assert list_names(f"runs={tmp_path}", "sort=name") == ["a9", "a10"]


def test_limit_and_columns_select_rows_and_columns(logs, capsys):
    result = list_runs(f"runs={logs}", "limit=2", "columns=[name,step,test/loss]", "filter=sweep", "sort=name")
    lines = capsys.readouterr().out.splitlines()

    assert lines[:3] == [
        "name           step  test/loss",
        "sweep/now/0_x    19        0.5",
        "sweep/now/1_x    19        0.4",
    ]
    assert lines[3] == "4 of 7 runs (4 finished); 2 listed, use limit=4 for all"
    assert (len(result["runs"]), result["num_runs"]) == (2, 4)


def test_result_has_what_chooses_the_next_experiment(logs):
    result = list_runs(f"runs={logs}", "filter=sweep")
    run, sweep = result["runs"][0], result["sweeps"][0]
    best = {
        name: result["best"][name][field] for name, field in (("test/accuracy", "value"), ("test/loss", "direction"))
    }

    assert json.loads(json.dumps(result)) == result
    assert (run["status"], run["seed"], run["epoch"], run["step"]) == ("finished", "1", 0, 19)
    assert (run["samples_per_s"], run["resumable"], run["checkpoints"], run["log"]) == (
        pytest.approx(800),
        False,
        {},
        None,
    )
    assert best == {"test/accuracy": 0.8, "test/loss": "min"}
    assert result["best"]["test/loss"]["run_dir"] == str(logs / "sweep/now/3_x")
    assert result["hyperparameters"] == ["data.batch_size", "seed"]
    assert [(group["overrides"], group["num_runs"]) for group in result["seeds"]] == [
        ("data.batch_size=32", 2),
        ("data.batch_size=16", 2),
    ]
    assert result["seeds"][0]["metrics"]["test/accuracy"] == {
        "mean": pytest.approx(0.75),
        "std": pytest.approx(0.0707, rel=1e-3),
    }
    assert (sweep["num_jobs"], sweep["statuses"]) == (6, {"finished": 4, "not started": 2})
    assert [(job["job"], job["overrides"]) for job in sweep["unfinished_jobs"]] == [
        (4, ["data.batch_size=64", "seed=0"]),
        (5, ["data.batch_size=64", "seed=1"]),
    ]


def test_running_run_whose_process_is_gone_is_killed_and_can_be_resumed(tmp_path):
    run_dir = write_run(tmp_path / "run", status="running")
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints/last.ckpt").touch()
    with FileLock(run_dir / ".lock"):
        held = load_run(run_dir, "run")
    released = load_run(run_dir, "run")

    assert (held["status"], held["resumable"]) == ("running", False)
    assert (released["status"], released["resumable"]) == ("killed", True)
    assert released["checkpoints"] == {"last": str(run_dir / "checkpoints/last.ckpt")}


def test_lock_that_is_a_link_is_not_opened(tmp_path):
    run_dir = write_run(tmp_path / "run", status="running")
    (tmp_path / "private").write_text("private")
    (run_dir / ".lock").symlink_to(tmp_path / "private")

    assert load_run(run_dir, "run")["status"] == "running"
    assert (tmp_path / "private").read_text() == "private"


def test_progress_is_read_from_the_end_of_a_long_file(tmp_path):
    rows = "".join(f"{step // 100},{step},{'1' * 50}\n" for step in range(5000))
    (tmp_path / "metrics.csv").write_text(f"epoch,step,train/loss\n{rows},,0.5\n49,50")

    assert read_progress(tmp_path / "metrics.csv") == {"epoch": 49, "step": 4999}
    assert read_progress(tmp_path / "none.csv") == {"epoch": None, "step": None}


@pytest.mark.parametrize("width", [30, 80, 120, 300])
def test_lines_fit_in_the_terminal(logs, capsys, monkeypatch, width):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    list_runs(f"runs={logs}", "sort=test/loss")
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines[:8])) <= width
    assert ("test/loss" in lines[0]) == (width >= 80)
    assert any(line.startswith("Columns that do not fit: ") for line in lines) == (width < 300)


def test_hostile_texts_are_escaped_and_aligned(tmp_path, capsys):
    overrides = ["model=\x1b[31mred\x07", "tags=日本語", f"notes={HOSTILE}\r\n\u202e"]
    write_run(tmp_path / "a", overrides, status="\x1b]0;title\x07")
    write_run(tmp_path / "b\x1b[2J", [f"model={'x' * 5_000}"])
    list_runs(f"runs={tmp_path}")
    out = capsys.readouterr().out
    lines = out.splitlines()

    assert all(char.isprintable() or char == "\n" for char in out)
    assert r"\x1b[31mred\x07" in out
    assert max(map(len, lines)) < 2_500
    # Each wide character takes two cells.
    assert {table.cell_len(line[: line.rindex("01234567+dirty")]) for line in lines[1:3]} == {
        table.cell_len(lines[0][: lines[0].index("commit")])
    }


def test_directory_without_runs_is_one_line(tmp_path, capsys):
    result = list_runs(f"runs={tmp_path}", "sort=test/accuracy")

    assert capsys.readouterr().out == f"No runs found in {tmp_path}. Run `make train` first.\n"
    assert (result["runs"], result["num_runs"], result["sweeps"]) == ([], 0, [])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("filter=stauts=failed", "Unknown column 'stauts'. Did you mean 'status'?"),
        ("sort=test/acuracy", "Unknown column 'test/acuracy'. Did you mean 'test/accuracy'?"),
        ("columns=[name,sed]", "Unknown column 'sed'. Did you mean 'seed'?"),
        (
            "columns=3",
            "Invalid value for columns: expected a list of columns, got 3. Use e.g. columns=[name,status].",
        ),
        ("limit=0", "Invalid value for limit: expected a positive integer, got 0. Use e.g. limit=50."),
        ("sort=null", "Invalid value for sort: expected a column, got null. Use e.g. sort=test/accuracy."),
        (
            "filter=[a]",
            "Invalid value for filter: expected words or conditions, got ['a']. Use e.g. filter=\"failed seed=0\".",
        ),
        (
            "runs=none_such",
            "Directory none_such does not exist. Use runs=logs, or the run directory printed by `make train`.",
        ),
    ],
)
def test_invalid_arguments_are_one_line(logs, override, message):
    with pytest.raises(ConfigError) as error:
        list_runs(*([] if override.startswith("runs=") else [f"runs={logs}"]), override)

    assert str(error.value) == message


def test_condition_needs_no_quotes_for_hydra(logs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["runs", f"runs={logs}", "filter=test/accuracy>0.75 status=finished"])
    with contextlib.suppress(SystemExit):
        runs.main()

    assert "\n1 of 7 runs (1 finished)\n" in capsys.readouterr().out


@pytest.mark.parametrize(("value", "text"), [(0.004018, "0.4 %"), (0.25, "25 %")])
def test_fraction_is_a_percentage(value, text):
    run = {"metrics": {"speed/data_wait_fraction": value}}
    column = {"key": "metrics/speed/data_wait_fraction", "label": "data wait", "kind": "fraction"}

    assert format_cell(run, column) == text
