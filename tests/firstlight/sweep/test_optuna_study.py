"""The study of an Optuna search: what is sampled, how results are reported, and how a stopped search resumes."""

import json
import os
import re
from contextlib import suppress

import pytest

from firstlight.run.errors import CheckpointError, ConfigError

optuna = pytest.importorskip("optuna", minversion="4.7", reason="the extra optuna is not installed")

from firstlight.sweep import optuna as optuna_sweep  # noqa: E402

SPACE = ["lr=tag(log,interval(1e-4,1e-1))", "size=range(8,33,8)", "act=relu,gelu", "seed=3"]


class RecordingLauncher:
    """Records the overrides of each batch of jobs by job number, and writes the run.json of each job.

    Args:
        sweep_dir: The sweep directory.
        get_result: Function of a job's number and values that returns its status and its metrics.
    """

    def __init__(self, sweep_dir, get_result):
        self.sweep_dir, self.get_result, self.batches = sweep_dir, get_result, []

    def launch(self, job_overrides, initial_job_idx):
        jobs = dict(enumerate(job_overrides, initial_job_idx))
        self.batches.append(jobs)
        for number, overrides in jobs.items():
            status, metrics = self.get_result(number, parse_values(overrides))
            run_dir = self.sweep_dir / str(number)
            run_dir.mkdir(exist_ok=True)
            record = {"status": status, "metrics": metrics, "overrides": overrides}
            (run_dir / "run.json").write_text(json.dumps(record))


def parse_values(overrides):
    return dict(override.split("=") for override in overrides)


def finish(number, values):
    return "finished", {"val/accuracy": 1 - float(values["lr"]), "val/loss": float(values["size"])}


def end_at(number, status):
    """Return a function whose job with this number ends with a status, or with an exception."""

    def get_result(job_number, values):
        if job_number == number and isinstance(status, BaseException):
            raise status
        return (status, {}) if job_number == number else finish(job_number, values)

    return get_result


def run_search(sweep_dir, get_result=finish, space=SPACE, **settings):
    """Run a search as a new process does, and return its batches of jobs."""
    sweep_dir.mkdir(exist_ok=True)
    sweeper = optuna_sweep.ResumableOptunaSweeper(**settings)
    sweeper.sweep_dir, sweeper.job_launcher = sweep_dir, RecordingLauncher(sweep_dir, get_result)
    with suppress(KeyboardInterrupt):
        sweeper.sweep(list(space))
    return sweeper.job_launcher.batches


def load_trials(sweep_dir):
    return optuna_sweep.load_or_create_study(sweep_dir, ["maximize"]).trials


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
