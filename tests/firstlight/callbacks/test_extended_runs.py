"""Runs that are extended, that have nothing left to train, or whose files or code changed while they waited."""

from firstlight.config.compose import compose_config
from support.interruption import read_record
from support.resume_matrix import (
    BASE,
    MOMENTS,
    Observer,
    collect_results,
    compose_run,
    find_differences,
    run_attempt,
    train_undisturbed,
    train_with_stops,
)

RUN = ["model=plain_finetuned", *BASE]
ENDLESS = [*RUN, "trainer.max_epochs=-1", "scheduler=constant"]


def resume(run_dir, *overrides):
    """Resume a run, and return its observer."""
    observer = Observer()
    run_attempt(compose_config("train", [f"resume={run_dir}", *overrides]), observer)
    return observer


def test_run_that_max_steps_ended_inside_an_epoch_continues_there(tmp_path):
    expected = train_undisturbed(tmp_path, [*ENDLESS, "trainer.max_steps=22"])
    first = Observer()
    run_attempt(compose_run([*ENDLESS, "trainer.max_steps=9"], tmp_path / "stopped"), first)
    second = resume(tmp_path / "stopped", "trainer.max_steps=22")
    differences = find_differences(expected, collect_results(tmp_path / "stopped", [first, second]))

    assert [line for line in differences if ".steps" in line or ".rows" in line or ".state_dict" in line] == []


def test_run_with_nothing_left_to_train_keeps_its_metrics(tmp_path):
    run_attempt(compose_run(RUN, tmp_path), Observer())
    before = (tmp_path / "metrics.csv").read_text()
    metrics = read_record(tmp_path)["metrics"]
    observer = resume(tmp_path, "trainer.max_epochs=4")

    assert observer.seen == {}
    assert (tmp_path / "metrics.csv").read_text() == before
    assert read_record(tmp_path)["metrics"] == metrics


def test_missing_best_checkpoint_is_reported(tmp_path, capsys):
    run_attempt(compose_run(RUN, tmp_path), Observer(MOMENTS["inside a window"][0]))
    (tmp_path / "checkpoints" / "best.ckpt").unlink()
    capsys.readouterr()
    resume(tmp_path)

    assert "Warning: the best checkpoint checkpoints/best.ckpt is missing. If no later" in capsys.readouterr().out


def test_changed_code_is_reported_and_recorded(tmp_path, capsys, monkeypatch):
    from firstlight.run import record
    from firstlight.run_data.run_info import load_run_info

    commits = iter([{"commit": "1" * 40, "dirty": False}, {"commit": "2" * 40, "dirty": True, "diff": "abc"}])
    versions = iter([{"torch": "2.14", "lightning": "2.6.6"}, {"torch": "2.15", "lightning": "2.6.6"}])
    monkeypatch.setattr(record, "get_git_info", lambda: next(commits))
    monkeypatch.setattr(record, "get_package_versions", lambda: next(versions))
    train_with_stops(tmp_path, RUN, MOMENTS["inside a window"])
    run_dir = tmp_path / "stopped"
    changes = "commit 1111111 -> 2222222 with changes abc, torch 2.14 -> 2.15"

    assert f"Warning: changed since the previous attempt: {changes}." in capsys.readouterr().out
    assert [attempt["git"]["commit"][0] for attempt in read_record(run_dir)["attempts"]] == ["1", "2"]
    assert [attempt["versions"]["torch"] for attempt in read_record(run_dir)["attempts"]] == ["2.14", "2.15"]
    assert load_run_info(run_dir, "run")["summary"]["changed"] == changes.replace(", ", "; ")


def test_unchanged_code_is_not_reported(tmp_path, capsys):
    train_with_stops(tmp_path, RUN, MOMENTS["inside a window"])

    assert "changed since" not in capsys.readouterr().out
