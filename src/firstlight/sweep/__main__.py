"""Train for each combination of settings:  python -m firstlight.sweep model=resnet50,vgg16 data.batch_size=16,32

Typed again, it goes on with the newest sweep of the same words until all jobs are finished; force=true starts over.
launcher=joblib, slurm or submitit_local runs jobs side by side; sweeper=optuna searches instead of trying all.
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
from firstlight.run.files import read_json_or_empty, write_atomically
from firstlight.run.lock import acquire_run_lock
from firstlight.run.redaction import redact
from firstlight.sweep.jobs import count_jobs
from firstlight.sweep.plan import (
    SweepPlan,
    is_sweep_override,
    make_plan,
    register_plugins,
    split_overrides,
    validate_jobs,
)
from firstlight.sweep.results import collect_results, print_results, write_results


def main() -> None:
    """Run the jobs; a failing one is a row of the table, and the exit code tells."""
    words = sys.argv[1:]
    if any(word in ("--help", "-h", "--cfg", "-c", "--info", "-i") for word in words):
        train.main()
        return
    parent = Path("logs/sweep")
    try:
        words, force = pop_force_flag(words)
        own, words = split_overrides(words)
        plan = make_plan(own, words)
        validate_jobs(plan)
        asked = redact({"overrides": words, **plan.identity})
        folder = (None if force else find_unfinished_sweep(parent, asked, plan)) or create_sweep(parent, asked, plan)
        with acquire_run_lock(folder):
            run_sweep(folder, words, plan)
    except Exception as error:
        print_error(error, "train")
        sys.exit(1)


def run_sweep(folder: Path, words: list[str], plan: SweepPlan) -> None:
    """Run what is left of a sweep, show the table however that ends, and leave with an exit code."""
    choices = register_plugins(plan)
    sys.argv[1:] = ["--multirun", *words, f"hydra.sweep.dir={folder}", *choices, *make_job_naming_overrides(words)]
    code: Any = 0
    try:
        train.main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        rows = collect_results(folder, plan.objective_metrics)
        if rows:
            write_results(folder, rows)
            print_results(folder, rows)
            print_best_trials(folder, plan)
        left = plan.num_jobs - count_completed_jobs(folder, plan)
        if left:
            print(f"next      the same command goes on with what is left, {left} of {plan.num_jobs} jobs")
    # What was ended from outside says so; else the table decides.
    sys.exit(code if code not in (0, 1) else 1 if left or not count_jobs(folder, "finished") else 0)


def print_best_trials(folder: Path, plan: SweepPlan) -> None:
    """Print what a search has found."""
    if plan.is_search and count_jobs(folder, "finished"):
        from firstlight.sweep.optuna import print_best_trials

        print_best_trials(folder, plan.objective_metrics)


def pop_force_flag(words: list[str]) -> tuple[list[str], bool]:
    """Return the words for Hydra, and whether a new sweep was asked for, whatever there is."""
    values = [word.partition("=")[2] for word in words if word.partition("=")[0] == "force"]
    for value in values:
        if value not in ("true", "false"):
            raise ValueError(f"force is true or false, but it is {value!r}: type force=true to start the sweep over")
    return [word for word in words if word.partition("=")[0] != "force"], values[-1:] == ["true"]


def find_unfinished_sweep(parent: Path, asked: dict[str, Any], plan: SweepPlan | None = None) -> Path | None:
    """Return the newest sweep of the same words and jobs, unless all of them are finished, and tell of it."""
    plan = plan or SweepPlan(asked["jobs"])
    same = [file.parent for file in parent.glob(f"*/{SWEEP_FILE}") if read_json_or_empty(file) == asked]
    if not same:
        return None
    newest = max(same, key=lambda folder: [int(number) for number in re.findall(r"\d+", folder.name)])
    done = count_completed_jobs(newest, plan)
    if done >= plan.num_jobs:
        return None
    print(f"sweep     goes on in {newest}, {done} of {plan.num_jobs} jobs are finished (force=true starts over)")
    return newest


def count_completed_jobs(folder: Path, plan: SweepPlan) -> int:
    """Return how many jobs of a sweep need no further start: in a search, a trial that failed is one."""
    return count_jobs(folder, "finished", "failed") if plan.is_search else count_jobs(folder, "finished")


def create_sweep(parent: Path, asked: dict[str, Any], plan: SweepPlan) -> Path:
    """Return the folder of a new sweep, which keeps what was asked for, and tell of it."""
    folder = make_timestamped_dir(parent)
    write_atomically(folder / SWEEP_FILE, json.dumps(asked, indent=2) + "\n")
    print(f"sweep     {plan.num_jobs} jobs, {folder}")
    return folder


def make_timestamped_dir(parent: Path) -> Path:
    """Make a folder named by the time, another one if a sweep of the same second has it."""
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in range(1, 1000):
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise ValueError(f"{parent} holds a thousand sweeps of this second: wait for the next one")


def make_job_naming_overrides(words: list[str]) -> list[str]:
    """Return the setting by which Hydra names jobs after the swept settings alone."""
    constant = [word.lstrip("+~").partition("=")[0] for word in words if "=" in word and not is_sweep_override(word)]
    settings = [f"hydra.job.config.override_dirname.exclude_keys=[{','.join(constant)}]"] if constant else []
    # Values such as paths are no folder names: those jobs are called by their number alone.
    odd = any(re.search(r"[^\w.,+-]", word.partition("=")[2]) for word in words if is_sweep_override(word))
    return [*settings, "hydra.sweep.subdir=${hydra.job.num}"] if odd else settings


if __name__ == "__main__":
    main()
