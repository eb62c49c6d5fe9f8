"""Tests of what the live page is sent when files change."""

import json
import os
import re
import time

import pytest

from firstlight.live.watch import State, Watcher
from support.runs import HOSTILE, write_benchmark, write_evaluation, write_provenance, write_run, write_test_results


def refresh(watcher):
    """Search again without waiting, and return the changes since the previous call."""
    watcher._next_search = 0.0
    since = watcher.state.version
    watcher.refresh()
    return json.loads(watcher.state.get_changes(since))


def get_names(changes):
    return sorted(run["name"] for run in changes["runs"])


def set_status(run_dir, status, **fields):
    path = run_dir / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": status, **fields}))


@pytest.fixture
def watcher(tmp_path):
    write_run(tmp_path / "a", ["seed=1"], status="running", rows=3)
    write_run(tmp_path / "b", ["seed=2"])
    watcher = Watcher([tmp_path])
    watcher.refresh()
    return watcher


def test_first_state_has_all_runs(watcher):
    changes = json.loads(watcher.state.get_changes(0))

    assert get_names(changes) == ["a", "b"]
    assert changes["order"] == [run["id"] for run in sorted(changes["runs"], key=lambda run: run["name"], reverse=True)]
    assert changes["report"]["hyperparameters"] == ["seed"]


def test_nothing_is_read_again_if_nothing_has_changed(watcher, monkeypatch):
    version = watcher.state.version
    monkeypatch.setattr("firstlight.live.watched_run.load_run_info", lambda *args: pytest.fail("run.json was read"))

    assert refresh(watcher)["runs"] == []
    assert watcher.state.version == version


def test_only_the_run_that_has_changed_is_sent(watcher, tmp_path):
    with (tmp_path / "a" / "metrics.csv").open("a") as file:
        file.write(",9,0.125,,,50,,\n")
    changes = refresh(watcher)

    (run,) = changes["runs"]
    assert run["name"] == "a"
    assert (run["metrics"]["train/loss"], run["metrics"]["speed/samples_per_s"]) == (0.125, 50)
    curves = json.loads(watcher.get_part(run["id"], "curves"))["curves"]
    assert next(group["steps"] for group in curves if "train/loss" in group["metrics"]) == [0, 1, 2, 9]


def test_new_failed_and_deleted_runs(watcher, tmp_path):
    write_run(tmp_path / "c", ["seed=3"], status="running", started="2026-11-21T10:00:00+00:00")
    changes = refresh(watcher)
    assert get_names(changes) == ["c"]
    assert changes["order"][0] == changes["runs"][0]["id"]
    assert changes["report"]["selection"][0] == changes["runs"][0]["id"]

    set_status(tmp_path / "c", "failed", reason="ValueError: it broke")
    (tmp_path / "c" / "output.log").write_text("the last line\n")
    (run,) = refresh(watcher)["runs"]
    assert (run["status"], run["reason"], run["log"]) == ("failed", "ValueError: it broke", ["the last line"])

    for path in (tmp_path / "c").iterdir():
        path.unlink()
    changes = refresh(watcher)
    assert (changes["runs"], len(changes["order"])) == ([], 2)


def test_client_that_missed_changes_gets_them_at_once(watcher, tmp_path):
    since = watcher.state.version
    set_status(tmp_path / "a", "finished")
    refresh(watcher)
    write_run(tmp_path / "c")
    refresh(watcher)

    assert get_names(json.loads(watcher.state.get_changes(since))) == ["a", "c"]
    assert get_names(json.loads(watcher.state.get_changes(watcher.state.version))) == []
    assert get_names(json.loads(watcher.state.get_changes(0))) == ["a", "b", "c"]


def test_evaluations_results_and_benchmarks_are_noticed(watcher, tmp_path):
    write_evaluation(tmp_path / "b" / "evaluations" / "now", tmp_path / "b")
    write_test_results(tmp_path / "b")
    write_benchmark(tmp_path / "benchmark")
    changes = refresh(watcher)

    (run,) = changes["runs"]
    results = json.loads(watcher.get_part(run["id"], "results"))
    assert [row["num_samples"] for row in results["evaluations"]] == [15]
    assert results["matrix"] == [[8, 2], [0, 5]]
    assert [row["run"] for row in changes["report"]["evaluations"]] == ["b"]
    assert changes["report"]["benchmarks"][0]["bars"] == {"training": [12.0]}


def test_ids_and_versions_stay_the_same_after_a_restart(watcher, tmp_path):
    restarted = Watcher([tmp_path])
    restarted.refresh()

    assert restarted.state.get_changes(0) == watcher.state.get_changes(0)


def test_log_of_a_running_run_is_its_end(watcher, tmp_path):
    (tmp_path / "a" / "output.log").write_text("".join(f"line {index}\n" for index in range(100)))
    (run,) = refresh(watcher)["runs"]

    log = json.loads(watcher.get_part(run["id"], "log"))["log"]
    assert (len(log), log[-1]) == (40, "line 99")


def test_provenance_of_a_run_is_one_of_its_parts(watcher, tmp_path):
    write_provenance(tmp_path / "b", "+new\n", "torch==1\n", "width: 3\n")
    (run,) = refresh(watcher)["runs"]

    provenance = json.loads(watcher.get_part(run["id"], "provenance"))["provenance"]
    assert provenance["diff"] == "+new\n"
    assert provenance["parts"]["packages"] == {"torch": "1"}
    assert provenance["parts"]["config"] == {"width": "3"}


@pytest.mark.parametrize("value", ["Infinity", "1" + 400 * "0"])
def test_damaged_benchmark_and_evaluation_do_not_hide_a_failure(watcher, tmp_path, value):
    write_benchmark(tmp_path / "benchmark")
    path = tmp_path / "benchmark/benchmark.json"
    path.write_text(re.sub(r'"speedup": [\d.]+', f'"speedup": {value}', path.read_text()))
    write_evaluation(tmp_path / "b" / "evaluations" / "now", tmp_path / "b")
    path = tmp_path / "b/evaluations/now/evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "samples": json.loads(value)}))
    set_status(tmp_path / "a", "failed", reason="ValueError: it broke")
    changes = refresh(watcher)

    assert {run["name"]: run["status"] for run in changes["runs"]}["a"] == "failed"
    assert len(changes["report"]["evaluations"]) == 1


@pytest.mark.parametrize("text", ["a: !!timestamp foo", "a: !!int ''", "a: !!bool foo", "c: [{2026-01-01: 1}]"])
def test_damaged_config_is_left_out_of_the_provenance(watcher, tmp_path, text):
    write_provenance(tmp_path / "b", "+new\n", "torch==1\n", text)
    (run,) = refresh(watcher)["runs"]

    assert json.loads(watcher.get_part(run["id"], "provenance"))["provenance"]["parts"]["config"] == {}


@pytest.mark.parametrize(("run_id", "part"), [("0", "curves"), ("..", "log"), ("", ""), ("../b", "run.json")])
def test_unknown_run_has_no_parts(watcher, run_id, part):
    assert watcher.get_part(run_id, part) is None


@pytest.mark.parametrize("part", ["", "run.json", "../run.json", "curves/"])
def test_unknown_part_is_not_served(watcher, part):
    assert watcher.get_part(next(iter(watcher.runs.values())).id, part) is None


def test_silent_run_has_the_time_of_its_last_change(watcher, tmp_path):
    run = watcher.runs[tmp_path / "a"]
    assert run.info["reason"] == ""

    for path in (tmp_path / "a").iterdir():
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    (info,) = refresh(watcher)["runs"]
    assert "last file change at 20" in info["reason"]


DAMAGE = ["", "{", "[]", "null", '{"status": 3, "metrics": {"a": NaN}, "overrides": {}}', "[" * 9999, '"\\ud800"']


@pytest.mark.parametrize("text", DAMAGE)
def test_damaged_run_does_not_hide_the_others(watcher, tmp_path, text):
    for name in ("run.json", "config.yaml", "metrics.csv", "predictions.json", "confusion_matrix.json"):
        (tmp_path / "a" / name).write_text(text)
    (run,) = refresh(watcher)["runs"]

    assert run["name"] == "a"
    for part in ("curves", "results", "log"):
        assert json.loads(watcher.get_part(run["id"], part))
    set_status(tmp_path / "b", "failed")
    assert get_names(refresh(watcher)) == ["b"]


def test_unexpected_error_is_the_reason_of_one_run(watcher, tmp_path, monkeypatch):
    def fail(run_dir, name):
        raise ZeroDivisionError(HOSTILE)

    monkeypatch.setattr("firstlight.live.watched_run.load_run_info", fail)
    set_status(tmp_path / "a", "failed")
    (run,) = refresh(watcher)["runs"]

    assert (run["status"], run["reason"]) == ("corrupt", f"cannot be shown (ZeroDivisionError: {HOSTILE})")


def test_huge_files_are_not_read(watcher, tmp_path):
    for name, size in (("run.json", 5), ("predictions.json", 65)):
        with (tmp_path / "b" / name).open("wb") as file:
            file.truncate(size * 2**20)
    (run,) = refresh(watcher)["runs"]

    assert run["reason"] == "cannot be shown (ValueError: run.json is larger than 4 MiB)"
    missing = json.loads(watcher.get_part(run["id"], "results"))["missing"]
    assert missing["samples"] == "predictions.json is larger than 64 MiB."


def test_links_out_of_a_run_are_not_followed(watcher, tmp_path):
    (tmp_path / "private.txt").write_text("CANARYWORD,step\n1,1\n")
    for name in ("run.json", "metrics.csv", "output.log", "config.yaml", "predictions.json"):
        (tmp_path / "b" / name).unlink(missing_ok=True)
        (tmp_path / "b" / name).symlink_to("../private.txt")
    changes = refresh(watcher)
    parts = [watcher.get_part(changes["runs"][0]["id"], part) for part in ("curves", "results", "log")]

    assert get_names(changes) == ["b"]
    assert "CANARYWORD" not in "".join([json.dumps(changes), *parts])


def test_empty_directory_has_a_state(tmp_path):
    watcher = Watcher([tmp_path])

    assert watcher.state == State()
    assert refresh(watcher)["order"] == []
    assert watcher.state.version == 1
