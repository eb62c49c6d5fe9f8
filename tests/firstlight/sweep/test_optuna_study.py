"""The study of an Optuna search: samples, reported results, and the resume of a stopped search."""

import json
import re

import pytest

from firstlight.run.errors import ConfigError
from support.optuna_search import SPACE, end_at, finish, load_trials, parse_values, run_search

optuna = pytest.importorskip("optuna", minversion="4.7", reason="the extra optuna is not installed")

from firstlight.sweep import optuna as optuna_sweep  # noqa: E402


def test_distributions_of_overrides():
    overrides = [*SPACE, "depth=int(interval(1,4))", "p=interval(0,0.5)", "t=range(0,0.3,0.1)", "one=choice(5)"]
    space, fixed = optuna_sweep.make_distributions(overrides)

    assert fixed == {"seed": "3", "one": "5"}
    assert space == {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "size": optuna.distributions.IntDistribution(8, 32, step=8),
        "act": optuna.distributions.CategoricalDistribution(["relu", "gelu"]),
        "depth": optuna.distributions.IntDistribution(1, 4),
        "p": optuna.distributions.FloatDistribution(0.0, 0.5),
        "t": optuna.distributions.FloatDistribution(0.0, 0.2, step=0.1),
    }


def test_sampled_values_lie_in_search_space(tmp_path, recwarn):
    batches = run_search(tmp_path, n_trials=25)
    jobs = [parse_values(overrides) for batch in batches for overrides in batch.values()]
    rates = [float(job["lr"]) for job in jobs]

    assert [list(batch) for batch in batches] == [[number] for number in range(25)]
    assert {job["size"] for job in jobs} <= {"8", "16", "24", "32"}
    assert {job["act"] for job in jobs} == {"relu", "gelu"}
    assert {job["seed"] for job in jobs} == {"3"}
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert len(set(rates)) == 25
    # The first ten are random: half of the log scale lies below 0.00316, but 3 % of the linear scale.
    assert sum(rate < 0.00316 for rate in rates[:10]) >= 2
    # The others follow the results: the accuracy grows as the learning rate falls.
    assert sum(rates[10:]) / 15 < sum(rates[:10]) / 10
    assert list(recwarn) == []


def test_command_line_replaces_stored_search_space(tmp_path):
    stored = {"size": "8,16", "act": "gelu"}
    ((job,),) = (
        batch.values() for batch in run_search(tmp_path, n_trials=1, params=stored, space=[SPACE[0], "size=32"])
    )

    assert parse_values(job) | {"lr": None} == {"size": "32", "act": "gelu", "lr": None}


def test_seed_determines_sampled_values(tmp_path):
    first, same, other = (
        run_search(tmp_path / name, n_trials=3, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )

    assert first == same
    assert all(parse_values(first[k][k])["lr"] != parse_values(other[k][k])["lr"] for k in range(3))


@pytest.mark.parametrize("stopped", [0, 12])
def test_stopped_search_resumes_as_if_it_had_not_been_stopped(tmp_path, stopped):
    expected = run_search(tmp_path / "uninterrupted", n_trials=14)
    before = run_search(tmp_path / "stopped", end_at(stopped, KeyboardInterrupt()), n_trials=14)
    after = run_search(tmp_path / "stopped", n_trials=14)

    assert before == expected[: stopped + 1]
    # The open trial is found again, with the same values. Finished trials are not repeated.
    assert after == expected[stopped:]
    assert [trial.params for trial in load_trials(tmp_path / "stopped")] == [
        trial.params for trial in load_trials(tmp_path / "uninterrupted")
    ]


def test_trials_that_ended_after_the_sweep_was_killed_are_reported(tmp_path):
    run_search(tmp_path, end_at(1, KeyboardInterrupt()), n_trials=3)
    for number, record in ((1, {"status": "finished", "metrics": {"val/accuracy": 0.75}}),):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "run.json").write_text(json.dumps(record))

    assert [list(batch) for batch in run_search(tmp_path, n_trials=3)] == [[2]]
    assert load_trials(tmp_path)[1].values == [0.75]


def test_search_continues_after_failed_trials(tmp_path):
    def get_result(number, values):
        return {1: ("failed", {}), 2: ("finished", {"val/accuracy": float("nan")})}.get(number) or finish(
            number, values
        )

    run_search(tmp_path, get_result, n_trials=4)
    states = [trial.state.name for trial in load_trials(tmp_path)]

    assert states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    assert run_search(tmp_path, n_trials=4) == []


def test_interrupted_job_stays_open(tmp_path):
    # As a launcher that reports an interruption only in the run.json.
    run_search(tmp_path, end_at(1, "interrupted"), n_trials=2)

    assert [trial.state.name for trial in load_trials(tmp_path)] == ["COMPLETE", "RUNNING"]


def test_trials_are_sampled_in_batches_of_n_jobs(tmp_path):
    batches = run_search(tmp_path, n_trials=5, n_jobs=2)

    assert [list(batch) for batch in batches] == [[0, 1], [2, 3], [4]]
    assert len({tuple(job) for batch in batches for job in batch.values()}) == 5


def test_search_can_be_extended(tmp_path):
    few = run_search(tmp_path / "a", n_trials=2)
    more = run_search(tmp_path / "a", n_trials=4)

    assert few + more == run_search(tmp_path / "b", n_trials=4)


def test_best_trial_is_printed(tmp_path, capsys):
    run_search(tmp_path, n_trials=3)
    optuna_sweep.print_best_trial_commands(tmp_path, ["val/accuracy"])
    best = min(range(3), key=lambda number: load_trials(tmp_path)[number].params["lr"])

    assert capsys.readouterr().out.startswith(f"Best trial: job {best} (val/accuracy ")


def test_pareto_optimal_trials_are_printed(tmp_path, capsys):
    metrics = ["val/accuracy", "val/loss"]
    run_search(tmp_path, n_trials=6, metric=metrics)
    study = optuna_sweep.load_or_create_study(tmp_path, ["maximize", "minimize"])
    optuna_sweep.print_best_trial_commands(tmp_path, metrics)
    printed = re.findall(r"^Best trial: job (\d) \(val/accuracy \S+, val/loss \S+\)", capsys.readouterr().out, re.M)

    assert [int(number) for number in printed] == [trial.number for trial in study.best_trials]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_missing_metric_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"Metric 'val/f1' was not logged\. Set sweeper\.metric to one of: val/accur"):
        run_search(tmp_path, n_trials=1, metric="val/f1")


def test_study_is_the_only_file_of_the_search(tmp_path):
    run_search(tmp_path, end_at(0, KeyboardInterrupt()), n_trials=1)

    assert [path.name for path in tmp_path.iterdir()] == [optuna_sweep.STUDY_FILE]
