"""The jobs of a sweep that were handed to a queue: who they are, and whether they are still there."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from firstlight.run.files import read_json_or_empty, write_atomically
from firstlight.sweep.jobs import get_job_dir


def get_submitit_dir(sweep: Path) -> Path:
    """Return the folder that holds what submitit needs, and the jobs' own output."""
    return sweep / ".submitit"


def save_job_ids(sweep: Path, jobs: dict[int, Any]) -> None:
    """Write down the ids of jobs, beside those of earlier starts of the sweep."""
    known = load_job_ids(sweep) | {number: str(job.job_id) for number, job in jobs.items()}
    text = json.dumps({str(number): known[number] for number in sorted(known)}, indent=2)
    write_atomically(get_submitit_dir(sweep) / "jobs.json", text + "\n")


def load_job_ids(sweep: Path) -> dict[int, str]:
    """Return the id that each job of a sweep had last."""
    known = read_json_or_empty(get_submitit_dir(sweep) / "jobs.json").items()
    return {int(number): str(each) for number, each in known if number.isdigit()}


def print_jobs(jobs: dict[int, Any]) -> None:
    """Print the number, the id and the output of each job."""
    for number, job in sorted(jobs.items()):
        print(f"job {number:<4}  {job.job_id:<10}  {os.path.relpath(job.task(0).paths.stdout)}", flush=True)


def list_queued_job_ids() -> set[str] | None:
    """Return the ids of this user's jobs that wait or run, each of an array; None if Slurm gives no answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
    try:
        return set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    except (OSError, subprocess.SubprocessError):
        return None


def is_job_finished(sweep: Path, number: int) -> bool:
    """Say whether a job of a sweep needs no further start."""
    return read_json_or_empty(get_job_dir(sweep, number) / "run.json").get("status") == "finished"


def has_result(job: Any) -> bool:
    """Say whether a job has come to its end by itself."""
    return job.task(0).paths.result_pickle.exists()


def find_missing_jobs(jobs: Iterable[Any]) -> list[Any]:
    """Return which of some jobs Slurm knows no more."""
    known = list_queued_job_ids()
    return [] if known is None else [job for job in jobs if job.job_id not in known]
