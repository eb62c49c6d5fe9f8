"""Run one job per combination of values:  python -m firstlight.sweep model=resnet50,vgg16 data.batch_size=16,32

The same command resumes the latest sweep with the same overrides until all jobs are finished; force=true starts over.
launcher=joblib, slurm or submitit_local runs jobs in parallel; sweeper=optuna searches instead of running a grid.
"""

import json
import re
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from firstlight import train
from firstlight.cli.errors import print_error
from firstlight.config.hydra_version import OVERRIDE_DIRNAME
from firstlight.config.overrides import validate_hydra_overrides
from firstlight.config.path_overrides import normalize_path_overrides
from firstlight.run.errors import CheckpointError, ConfigError, invalid_value
from firstlight.run.files import SWEEP_FILE, read_json_or_empty, write_atomically
from firstlight.run.json_output import pop_json_argument, print_as_json, set_error, set_result
from firstlight.run.lock import acquire_run_lock
from firstlight.run.output_path import validate_writable
from firstlight.run.redaction import redact
from firstlight.run.secret_overrides import move_secrets_to_environment
from firstlight.run.signals import exit_on_stop_signals, get_received_signal
from firstlight.sweep.jobs import count_jobs
from firstlight.sweep.plan import (
    SweepPlan,
    is_sweep_override,
    make_plan,
    register_plugins,
    split_sweep_and_job_overrides,
    validate_jobs,
)
from firstlight.sweep.results import collect_results, print_results, report_statistics, write_results_and_plots
from firstlight.sweep.summary import summarize_sweep

# File systems allow 255 bytes; the job number is added to the name.
MAX_DIR_NAME_BYTES = 200
# The longest float, such as -2.2250738585072014e-308.
MAX_NUMBER_CHARACTERS = 24


def main() -> None:
    """Run the jobs of a sweep. A failed job becomes a row of the results, and the exit code reports it."""
    # Hydra's own flag for several values: `make sweep` implies it.
    arguments, is_json = pop_json_argument(sys.argv[1:])
    with print_as_json("sweep", is_json), exit_on_stop_signals("sweep"):
        run_command([argument for argument in arguments if argument not in ("-m", "--multirun")])


def run_command(arguments: list[str]) -> None:
    """Run the jobs, or print what a flag of Hydra asks for, and exit.

    Args:
        arguments: Arguments of the command, except those about its output.
    """
    overrides = move_secrets_to_environment(normalize_path_overrides(arguments, is_sweep=True))
    if any(argument in ("--help", "-h", "--cfg", "-c", "--info", "-i") for argument in overrides):
        sys.argv[1:] = arguments
        train.main()
        return
    try:
        plan_and_run(overrides, Path("logs/sweep"))
    except Exception as error:
        sys.exit(1 if get_received_signal() else print_error(error, "train"))


def plan_and_run(overrides: list[str], parent: Path) -> None:
    """Validate all jobs, create a sweep directory or find the unfinished one, and run its remaining jobs.

    Args:
        overrides: Arguments of the command.
        parent: Directory that contains the sweep directories.

    Raises:
        ConfigError: If an override is invalid.
    """
    validate_hydra_overrides(overrides, is_sweep=True)
    if any(override.lstrip("+").startswith("output_dir=") for override in overrides):
        raise ConfigError(f"output_dir has no effect in a sweep: its jobs are in {parent}/<time>. Remove output_dir.")
    overrides, force = pop_force_flag(overrides)
    sweep_overrides, overrides = split_sweep_and_job_overrides(overrides)
    plan = make_plan(sweep_overrides, overrides)
    validate_jobs(plan)
    definition = redact({"overrides": overrides, **plan.identity})
    sweep_dir = None if force else find_unfinished_sweep(parent, definition, plan)
    sweep_dir = sweep_dir or create_sweep(parent, definition, plan)
    with acquire_run_lock(sweep_dir):
        run_remaining_jobs_and_exit(sweep_dir, overrides, plan)


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
    naming = make_job_naming_overrides(overrides, plan)
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
            print_results(sweep_dir, rows, plan.objective_metrics)
            report_statistics(sweep_dir, plan.objective_metrics)
            print_best_trial_summary(sweep_dir, plan)
        remaining = plan.num_jobs - count_settled_jobs(sweep_dir, plan)
        set_result(summarize_sweep(sweep_dir, plan, remaining))
        if remaining:
            print(f"{remaining} of {plan.num_jobs} jobs remaining. Run the same command again to continue.")
    if remaining:
        fix = "Run the same command again to continue."
        set_error("TrainingError", f"{remaining} of {plan.num_jobs} jobs remaining. {fix}", fix=fix)
    # A sweep that was stopped from outside keeps its exit code; otherwise the results decide.
    sys.exit(code if code not in (0, 1) else 1 if remaining or not count_jobs(sweep_dir, "finished") else 0)


def print_best_trial_summary(sweep_dir: Path, plan: SweepPlan) -> None:
    """Print the best trials of a search that has at least one finished job and a readable study."""
    if plan.is_search and count_jobs(sweep_dir, "finished"):
        from firstlight.sweep.optuna import print_best_trial_commands

        # The search reads the study first, and has already reported this error.
        with suppress(CheckpointError, OSError):
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


def make_job_naming_overrides(overrides: list[str], plan: SweepPlan) -> list[str]:
    """Return the Hydra overrides that name each job directory after the swept keys only.

    Args:
        overrides: Overrides of the training jobs.
        plan: The plan made from the same overrides.
    """
    constant = [
        override.lstrip("+~").partition("=")[0]
        for override in overrides
        if "=" in override and not is_sweep_override(override)
    ]
    naming = [f"hydra.job.config.override_dirname.exclude_keys=[{','.join(constant)}]"] if constant else []
    # Values such as paths cannot be part of a directory name: those jobs are named by their number only.
    swept_values = [override.partition("=")[2] for override in overrides if is_sweep_override(override)]
    has_unsafe_value = any(re.search(r"[^\w.,+-]", value) for value in swept_values)
    is_too_long = estimate_name_bytes(plan, constant) > MAX_DIR_NAME_BYTES
    name = "" if has_unsafe_value or is_too_long else f"_{OVERRIDE_DIRNAME}"
    return [*naming, f"hydra.sweep.subdir=${{hydra.job.num}}{name}"]


def estimate_name_bytes(plan: SweepPlan, constant: list[str]) -> int:
    """Return the length of the longest name of a job in UTF-8; a search samples numbers with all their digits.

    Args:
        plan: The plan.
        constant: Keys that are not part of the names.
    """
    longest = 0
    for job in plan.jobs:
        pairs = [item.lstrip("+~").partition("=") for item in job]
        swept = [(len(key.encode()), len(value.encode())) for key, _, value in pairs if key not in constant]
        sampled = MAX_NUMBER_CHARACTERS if plan.is_search else 0
        longest = max(longest, sum(key + 2 + max(value, sampled) for key, value in swept))
    return longest


if __name__ == "__main__":
    main()
