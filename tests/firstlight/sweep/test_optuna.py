"""Searches by Optuna: they survive failing trials and interruptions, and print the best settings."""

import csv
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from firstlight.sweep.plan import expand_jobs, make_plan
from support.sweep_in_process import make_sweep_runner
from support.tiny_training import NO_PLOTS, make_faulty_overrides

SPACE = ["optimizer.lr=interval(0.001,0.1)", "data.batch_size=4,8"]
SMALL = [word for word in make_faulty_overrides(NO_PLOTS) if not word.startswith("data.batch_size")] + [
    "sweeper=optuna"
]

needs_optuna = pytest.mark.skipif(find_spec("optuna") is None, reason="the extra optuna is not installed")


@pytest.fixture
def typed(monkeypatch, tmp_path, capsys):
    pytest.importorskip("optuna")
    return make_sweep_runner(monkeypatch, tmp_path, capsys, *SMALL)


def folder() -> Path:
    (found,) = Path("logs/sweep").iterdir()
    return found


def rows() -> list[dict[str, str]]:
    with (folder() / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_ends_of_what_may_be_tried_are_checked_first():
    jobs = expand_jobs(["sweeper=optuna", *SPACE, "seed=3", "model=tiny_images"])

    assert len(jobs) == 4
    assert {"optimizer.lr=0.001", "optimizer.lr=0.1"} == {job[0] for job in jobs}
    assert {"seed=3"} == {job[2] for job in jobs}


@needs_optuna
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seed=3"], "A search varies settings, but none is given"),
        (["sweeper.n_trials=0", *SPACE], "sweeper.n_trials is 1 to 1,000,000, but sweeper.n_trials=0"),
        (["sweeper.metrics=a", *SPACE], "There is no setting sweeper.metrics: did you mean sweeper.metric?"),
        (["sweeper.direction=up", *SPACE], "sweeper.direction is maximize or minimize for each of val/accuracy, but"),
        (["sweeper.direction=[minimize,minimize]", *SPACE], "give 1 of them"),
    ],
)
def test_a_search_that_cannot_work_is_refused_in_a_sentence(words, sentence):
    own = ["sweeper=optuna", *(word for word in words if word.startswith("sweeper."))]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make_plan(own, ["model=tiny_images", *(word for word in words if word not in own)])


@needs_optuna
def test_more_trials_are_the_same_search_and_another_metric_is_another_one():
    few, more, other = (
        make_plan(["sweeper=optuna", word], ["model=tiny_images", *SPACE])
        for word in ("sweeper.n_trials=3", "sweeper.n_trials=5", "sweeper.metric=val/loss")
    )

    assert few.identity == more.identity != other.identity
    assert (few.num_jobs, more.num_jobs) == (3, 5)


@pytest.mark.slow
def test_a_failing_trial_does_not_end_the_search_and_more_trials_go_on(typed, monkeypatch):
    monkeypatch.setenv("FAULT", "job==1:diverged")
    code, told = typed(*SPACE, "sweeper.n_trials=3")

    assert code == 0, told
    assert [row["status"] for row in rows()] == ["finished", "failed", "finished"]
    assert all(0.001 <= float(row["optimizer.lr"]) <= 0.1 for row in rows())
    assert (folder() / "study.db").is_file()
    (best,) = re.findall(r"^best      job \d, val/accuracy ([\d.]+): make train .*optimizer.lr=[\d.]+", told, re.M)
    assert float(best) == max(float(row["val/accuracy"]) for row in rows() if row["val/accuracy"])
    assert "Warning" not in told

    code, told = typed(*SPACE, "sweeper.n_trials=4")

    assert told.startswith(f"sweep     goes on in {folder()}, 3 of 4 jobs are finished")
    assert [row["status"] for row in rows()] == ["finished", "failed", "finished", "finished"]
    assert len({row["optimizer.lr"] for row in rows()}) == 4


@pytest.mark.slow
def test_an_interrupted_search_goes_on_with_the_interrupted_trial(typed, monkeypatch):
    monkeypatch.setenv("FAULT", "job==1,step==1:KeyboardInterrupt")
    words = ["optimizer.lr=interval(0.001,0.1)", "data.batch_size=4", "sweeper.n_trials=3"]
    code, told = typed(*words)
    first = rows()

    assert code == 130 or code != 0
    assert [row["status"] for row in first] == ["finished", "interrupted"]
    assert "2 of 3 jobs" in told

    monkeypatch.delenv("FAULT")
    code, told = typed(*words)

    assert code == 0
    assert [row["status"] for row in rows()] == ["finished"] * 3
    assert [row["optimizer.lr"] for row in rows()[:2]] == [row["optimizer.lr"] for row in first]
    assert len(json.loads((folder() / "1" / "run.json").read_text())["attempts"]) <= 2


@pytest.mark.slow
def test_two_metrics_are_weighed_against_each_other(typed):
    metrics = "sweeper.metric=[val/loss,speed/samples_per_s]"
    code, told = typed(*SPACE, metrics, "sweeper.n_trials=3", "sweeper.n_jobs=2")
    shown = re.findall(r"^best      job \d, val/loss [\d.]+, speed/samples_per_s \S+: make train ", told, re.M)

    assert code == 0
    assert len(rows()) == 3
    assert len(shown) >= 1
    assert all(float(row["val/loss"]) > 0 for row in rows())


@pytest.mark.slow
def test_an_unknown_metric_is_told_with_those_that_there_are(typed):
    code, told = typed(*SPACE, "sweeper.n_trials=2", "sweeper.metric=val/acuracy")

    assert code == 1
    assert "it has no val/acuracy: give one of" in told
    assert "val/accuracy" in told
