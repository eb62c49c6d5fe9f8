"""Job IDs of a sweep in Slurm's queue: store them, and find out which jobs are still queued or running."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from firstlight.run.files import read_json_or_empty, write_atomically
from firstlight.sweep.jobs import get_job_dir


def get_submitit_dir(sweep_dir: Path) -> Path:
    """Return the directory of submitit's files, including the output of the jobs."""
    return sweep_dir / ".submitit"


def add_job_ids(sweep_dir: Path, jobs: dict[int, Any]) -> None:
    """Add the IDs of jobs to the stored IDs of earlier jobs."""
    ids = load_job_ids(sweep_dir) | {number: str(job.job_id) for number, job in jobs.items()}
    text = json.dumps({str(number): ids[number] for number in sorted(ids)}, indent=2)
    write_atomically(get_submitit_dir(sweep_dir) / "jobs.json", text + "\n")


def load_job_ids(sweep_dir: Path) -> dict[int, str]:
    """Return the latest ID of each submitted job by job number."""
    ids = read_json_or_empty(get_submitit_dir(sweep_dir) / "jobs.json").items()
    return {int(number): str(job_id) for number, job_id in ids if number.isdigit()}


def print_jobs(jobs: dict[int, Any]) -> None:
    """Print the number, the ID and the output file of each job."""
    for number, job in sorted(jobs.items()):
        print(f"job {number:<4}  {job.job_id:<10}  {os.path.relpath(job.task(0).paths.stdout)}", flush=True)


def list_queued_job_ids() -> set[str] | None:
    """Return the IDs of this user's queued and running jobs, one per array task; None if squeue fails."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
    try:
        return set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    except (OSError, subprocess.SubprocessError):
        return None


def is_job_finished(sweep_dir: Path, number: int) -> bool:
    """Return True if a job of a sweep has finished and needs no further attempt."""
    return read_json_or_empty(get_job_dir(sweep_dir, number) / "run.json").get("status") == "finished"


def has_result(job: Any) -> bool:
    """Return True if a submitit job has written its result."""
    return job.task(0).paths.result_pickle.exists()


def find_dequeued_jobs(jobs: Iterable[Any]) -> list[Any]:
    """Return the jobs that are no longer in Slurm's queue; none if squeue fails."""
    queued = list_queued_job_ids()
    return [] if queued is None else [job for job in jobs if job.job_id not in queued]
