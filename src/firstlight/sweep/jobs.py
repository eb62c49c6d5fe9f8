"""Jobs of a sweep, as recorded in their run directories: which jobs exist and how each one ended."""

from pathlib import Path
from typing import Any

from firstlight.run.files import SWEEP_FILE, read_json_or_empty
from firstlight.run_data.run_status import KILLED, KILLED_REASON, NOT_STARTED, is_abandoned


def get_job_dir(sweep_dir: Path, number: int) -> Path:
    """Return the run directory of a job, named by number and swept values or by the number only."""
    return next(sweep_dir.glob(f"{number}_*"), sweep_dir / str(number))


def load_job_records(sweep_dir: Path) -> list[dict[str, Any]]:
    """Return the run.json of each job that has one, sorted by job number, with its "run_dir".

    A run.json that is empty because the job was killed is left out.
    """
    files = sorted(sweep_dir.rglob("run.json"), key=lambda file: parse_job_number(file.relative_to(sweep_dir)))
    return [record | {"run_dir": str(file.parent)} for file in files if (record := read_json_or_empty(file))]


def load_all_jobs(sweep_dir: Path) -> list[dict[str, Any]]:
    """Return a record of each job, sorted by job number, including jobs that did not start or were killed."""
    records = {
        parse_job_number(Path(record["run_dir"]).relative_to(sweep_dir)): record
        for record in load_job_records(sweep_dir)
    }
    planned = read_json_or_empty(sweep_dir / SWEEP_FILE).get("jobs")
    for number, overrides in enumerate(planned if isinstance(planned, list) else []):
        records.setdefault(number, {"overrides": overrides, "status": NOT_STARTED, "run_dir": str(sweep_dir)})
    for record in records.values():
        if record.get("status") == "running" and is_abandoned(Path(record["run_dir"])):
            record |= {"status": KILLED, "reason": KILLED_REASON}
    return [records[number] for number in sorted(records)]


def parse_job_number(path: Path) -> int:
    """Return the job number at the beginning of a path relative to the sweep directory."""
    return int(path.parts[0].partition("_")[0])


def count_jobs(sweep_dir: Path, *statuses: str) -> int:
    """Return how many jobs of a sweep have one of these statuses."""
    return sum(record.get("status") in statuses for record in load_job_records(sweep_dir))
