"""The jobs of a sweep that were handed to a queue: who they are, and whether they are still there."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from firstlight.run.files import read_json_or_empty, write_atomically
from firstlight.sweep.jobs import job_folder


def folder_of(sweep: Path) -> Path:
    """Return the folder that holds what submitit needs, and the jobs' own output."""
    return sweep / ".submitit"


def keep(sweep: Path, jobs: dict[int, Any]) -> None:
    """Write down the ids of jobs, beside those of earlier starts of the sweep."""
    known = ids(sweep) | {number: str(job.job_id) for number, job in jobs.items()}
    text = json.dumps({str(number): known[number] for number in sorted(known)}, indent=2)
    write_atomically(folder_of(sweep) / "jobs.json", text + "\n")


def ids(sweep: Path) -> dict[int, str]:
    """Return the id that each job of a sweep had last."""
    known = read_json_or_empty(folder_of(sweep) / "jobs.json").items()
    return {int(number): str(each) for number, each in known if number.isdigit()}


def tell(jobs: dict[int, Any]) -> None:
    """Print the number, the id and the output of each job."""
    for number, job in sorted(jobs.items()):
        print(f"job {number:<4}  {job.job_id:<10}  {os.path.relpath(job.task(0).paths.stdout)}", flush=True)


def in_slurm() -> set[str] | None:
    """Return the ids of this user's jobs that wait or run, each of an array; None if Slurm gives no answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
    try:
        return set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    except (OSError, subprocess.SubprocessError):
        return None


def finished(sweep: Path, number: int) -> bool:
    """Say whether a job of a sweep needs no further start."""
    return read_json_or_empty(job_folder(sweep, number) / "run.json").get("status") == "finished"


def has_result(job: Any) -> bool:
    """Say whether a job has come to its end by itself."""
    return job.task(0).paths.result_pickle.exists()


def gone(jobs: Iterable[Any]) -> list[Any]:
    """Return which of some jobs Slurm knows no more."""
    known = in_slurm()
    return [] if known is None else [job for job in jobs if job.job_id not in known]
