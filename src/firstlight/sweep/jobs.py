"""The jobs of a sweep, as their folders tell: which there are, and what became of each."""

from pathlib import Path
from typing import Any

from firstlight.cli.job import SWEEP_FILE
from firstlight.run.files import read_json_or_empty
from firstlight.run.lock import is_unlocked

# Of a job without a run.json, and of one that nobody runs although its run.json says so.
NOT_STARTED, KILLED = "not started", "killed"


def get_job_dir(sweep: Path, number: int) -> Path:
    """Return the folder of a job, whether it is called by its settings or by its number alone."""
    return next(sweep.glob(f"{number}_*"), sweep / str(number))


def load_job_records(sweep: Path) -> list[dict[str, Any]]:
    """Return what run.json of each job tells, in order; one that a kill left empty tells nothing."""
    files = sorted(sweep.rglob("run.json"), key=lambda file: parse_job_number(file.relative_to(sweep)))
    return [record | {"folder": str(file.parent)} for file in files if (record := read_json_or_empty(file))]


def load_all_jobs(sweep: Path) -> list[dict[str, Any]]:
    """Return a record of each job, in order: those that never began, and those that were killed, included."""
    known = {parse_job_number(Path(each["folder"]).relative_to(sweep)): each for each in load_job_records(sweep)}
    asked = read_json_or_empty(sweep / SWEEP_FILE).get("jobs")
    for number, words in enumerate(asked if isinstance(asked, list) else []):
        known.setdefault(number, {"overrides": words, "status": NOT_STARTED, "folder": str(sweep)})
    for each in known.values():
        if each.get("status") == "running" and is_unlocked(Path(each["folder"])):
            each |= {"status": KILLED, "reason": "its process was ended from outside, as when memory runs out"}
    return [known[number] for number in sorted(known)]


def parse_job_number(path: Path) -> int:
    """Return the number that a job's folder starts with."""
    return int(path.parts[0].partition("_")[0])


def count_jobs(sweep: Path, *statuses: str) -> int:
    """Return how many jobs of a sweep ended in one of these ways."""
    return sum(record.get("status") in statuses for record in load_job_records(sweep))
