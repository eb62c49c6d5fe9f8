"""Run Optuna searches whose jobs are not trained, only recorded. Optuna is optional: it is imported when it is used."""

import json
from contextlib import suppress

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
    from firstlight.sweep import optuna as optuna_sweep

    sweeper = optuna_sweep.ResumableOptunaSweeper(**settings)
    sweeper.sweep_dir, sweeper.job_launcher = sweep_dir, RecordingLauncher(sweep_dir, get_result)
    with suppress(KeyboardInterrupt):
        sweeper.sweep(list(space))
    return sweeper.job_launcher.batches


def load_trials(sweep_dir):
    from firstlight.sweep import optuna as optuna_sweep

    return optuna_sweep.load_or_create_study(sweep_dir, ["maximize"]).trials
