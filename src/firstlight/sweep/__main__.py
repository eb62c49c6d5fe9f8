"""Run one job per combination of values:  python -m firstlight.sweep model=resnet50,vgg16 data.batch_size=16,32

The same command resumes the latest sweep with the same overrides until all jobs are finished; force=true starts over.
launcher=joblib, slurm or submitit_local runs jobs in parallel; sweeper=optuna searches instead of running a grid.
"""

import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from firstlight import train
from firstlight.cli.errors import print_error
from firstlight.cli.job import SWEEP_FILE
from firstlight.run.errors import ConfigError, invalid_value
from firstlight.run.files import read_json_or_empty, write_atomically
from firstlight.run.lock import acquire_run_lock
from firstlight.run.output_path import validate_writable
from firstlight.run.redaction import redact
from firstlight.sweep.jobs import count_jobs
from firstlight.sweep.plan import (
    SweepPlan,
    is_sweep_override,
    make_plan,
    register_plugins,
    split_sweep_and_job_overrides,
    validate_jobs,
)
from firstlight.sweep.results import collect_results, print_results, write_results_and_plots


def main() -> None:
    """Run the jobs of a sweep. A failed job becomes a row of the results, and the exit code reports it."""
    overrides = sys.argv[1:]
    if any(argument in ("--help", "-h", "--cfg", "-c", "--info", "-i") for argument in overrides):
        train.main()
        return
    parent = Path("logs/sweep")
    try:
        overrides, force = pop_force_flag(overrides)
        sweep_overrides, overrides = split_sweep_and_job_overrides(overrides)
        plan = make_plan(sweep_overrides, overrides)
        validate_jobs(plan)
        definition = redact({"overrides": overrides, **plan.identity})
        sweep_dir = None if force else find_unfinished_sweep(parent, definition, plan)
        sweep_dir = sweep_dir or create_sweep(parent, definition, plan)
        with acquire_run_lock(sweep_dir):
            run_remaining_jobs_and_exit(sweep_dir, overrides, plan)
    except Exception as error:
        print_error(error, "train")
        sys.exit(1)


def run_remaining_jobs_and_exit(sweep_dir: Path, overrides: list[str], plan: SweepPlan) -> None:
    """Run the remaining jobs of a sweep, print the results even after an error, and exit.

    Args:
        sweep_dir: The sweep directory.
        overrides: Overrides of the training jobs; those with several values are swept.
        plan: The plan made from the same overrides.

    Raises:
        SystemExit: Always, with the exit code of the sweep.
    """
    plugins = register_plugins(plan)
    naming = make_job_naming_overrides(overrides)
    sys.argv[1:] = ["--multirun", *overrides, f"hydra.sweep.dir={sweep_dir}", *plugins, *naming]
    code: Any = 0
    try:
        train.main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        rows = collect_results(sweep_dir, plan.objective_metrics)
        if rows:
            write_results_and_plots(sweep_dir, rows)
            print_results(sweep_dir, rows)
            print_best_trial_summary(sweep_dir, plan)
        remaining = plan.num_jobs - count_settled_jobs(sweep_dir, plan)
        if remaining:
            print(f"{remaining} of {plan.num_jobs} jobs remaining. Run the same command again to continue.")
    # A sweep that was stopped from outside keeps its exit code; otherwise the results decide.
    sys.exit(code if code not in (0, 1) else 1 if remaining or not count_jobs(sweep_dir, "finished") else 0)


def print_best_trial_summary(sweep_dir: Path, plan: SweepPlan) -> None:
    """Print the best trials of a search that has at least one finished job."""
    if plan.is_search and count_jobs(sweep_dir, "finished"):
        from firstlight.sweep.optuna import print_best_trial_commands

        print_best_trial_commands(sweep_dir, plan.objective_metrics)


def pop_force_flag(overrides: list[str]) -> tuple[list[str], bool]:
    """Return the overrides without `force`, and whether a new sweep is forced.

    Raises:
        ConfigError: If the value of `force` is neither true nor false.
    """
    values = [override.partition("=")[2] for override in overrides if override.partition("=")[0] == "force"]
    for value in values:
        if value not in ("true", "false"):
            fix = "Use force=true to start the sweep over."
            raise ConfigError(invalid_value("force", value, "true or false", fix))
    return [override for override in overrides if override.partition("=")[0] != "force"], values[-1:] == ["true"]


def find_unfinished_sweep(parent: Path, definition: dict[str, Any], plan: SweepPlan | None = None) -> Path | None:
    """Return the latest sweep with the same definition and report its progress; None if there is none to resume.

    Args:
        parent: Directory that contains the sweep directories.
        definition: Contents of sweep.json.
        plan: The plan of the sweep; if None, a grid of the jobs in `definition`.
    """
    plan = plan or SweepPlan(definition["jobs"])
    same = [file.parent for file in parent.glob(f"*/{SWEEP_FILE}") if read_json_or_empty(file) == definition]
    if not same:
        return None
    latest = max(same, key=lambda sweep_dir: [int(number) for number in re.findall(r"\d+", sweep_dir.name)])
    num_completed = count_settled_jobs(latest, plan)
    if num_completed >= plan.num_jobs:
        return None
    print(f"Resuming sweep {latest}: {num_completed} of {plan.num_jobs} jobs finished (pass force=true to start over).")
    return latest


def count_settled_jobs(sweep_dir: Path, plan: SweepPlan) -> int:
    """Return how many jobs of a sweep need no further attempt. In a search, a failed trial is completed."""
    return count_jobs(sweep_dir, "finished", "failed") if plan.is_search else count_jobs(sweep_dir, "finished")


def create_sweep(parent: Path, definition: dict[str, Any], plan: SweepPlan) -> Path:
    """Create the directory of a new sweep with its sweep.json, and print its path."""
    sweep_dir = make_timestamped_dir(parent)
    write_atomically(sweep_dir / SWEEP_FILE, json.dumps(definition, indent=2) + "\n")
    print(f"sweep     {plan.num_jobs} jobs, {sweep_dir}")
    return sweep_dir


def make_timestamped_dir(parent: Path) -> Path:
    """Create a directory named after the current time; append a counter if that name is taken.

    Raises:
        ConfigError: If it cannot be created, or 999 sweeps were created in the same second.
    """
    validate_writable(parent, "Make it writable, or use another working directory.")
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in range(1, 1000):
        directory = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            directory.mkdir(parents=True)
            return directory
        except FileExistsError:
            continue
    raise ConfigError(f"{parent} already contains 999 sweeps from this second. Run the command again.")


def make_job_naming_overrides(overrides: list[str]) -> list[str]:
    """Return the Hydra overrides that name each job directory after the swept keys only."""
    constant = [
        override.lstrip("+~").partition("=")[0]
        for override in overrides
        if "=" in override and not is_sweep_override(override)
    ]
    naming = [f"hydra.job.config.override_dirname.exclude_keys=[{','.join(constant)}]"] if constant else []
    # Values such as paths cannot be part of a directory name: those jobs are named by their number only.
    swept_values = [override.partition("=")[2] for override in overrides if is_sweep_override(override)]
    has_unsafe_value = any(re.search(r"[^\w.,+-]", value) for value in swept_values)
    return [*naming, "hydra.sweep.subdir=${hydra.job.num}"] if has_unsafe_value else naming


if __name__ == "__main__":
    main()
