"""Load the runs and sweeps in some directories, without their curves."""

import csv
import io
import os
from collections import Counter
from pathlib import Path
from typing import Any

from firstlight.config.run_config import has_checkpoint
from firstlight.run.containment import open_inside
from firstlight.run.files import SWEEP_FILE, list_checkpoints, read_json_or_empty
from firstlight.run_data.collect import find_common_parent, find_records, get_run_name
from firstlight.run_data.comparison import MEMORY, SPEED
from firstlight.run_data.run_info import load_run_info
from firstlight.run_data.run_status import KILLED, KILLED_REASON, NOT_STARTED, is_abandoned

# Size of the end of metrics.csv that is read. Not every row has a step and an epoch.
TAIL_BYTES, NUM_TAIL_ROWS = 16_384, 20


def load_runs_and_sweeps(search_dirs: list[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return all runs, newest first, and all sweeps in some directories. A corrupt run is a row with its reason."""
    records = list(find_records(search_dirs))
    base = find_common_parent(search_dirs)
    run_dirs = dict.fromkeys(directory for directory, name in records if name == "run.json")
    runs = [load_run(run_dir, get_run_name(run_dir, base)) for run_dir in run_dirs]
    runs.sort(key=lambda run: (run["started"] or "", run["name"]), reverse=True)
    return runs, [load_sweep(directory, runs) for directory, name in records if name == SWEEP_FILE]


def load_run(run_dir: Path, name: str) -> dict[str, Any]:
    """Return the state and the results of a run, as JSON-compatible values.

    Returns:
        The fields of `load_run_info` without its texts for the page, and "epoch" and "step" of the last row of
        metrics.csv, "samples_per_s", "peak_memory_gib", "checkpoints" (paths by name), "resumable" and "log" (a path).
    """
    info = load_run_info(run_dir, name)
    names = ("name", "run_dir", "status", "reason", "overrides", "metrics", "duration_s", "started", "commit", "seed")
    run = {field: info[field] for field in names}
    if run["status"] == "running" and is_abandoned(run_dir):
        run |= {"status": KILLED, "reason": KILLED_REASON}
    log = run_dir / "output.log"
    return {
        **run,
        **read_progress(run_dir / "metrics.csv"),
        "samples_per_s": run["metrics"].get(SPEED),
        "peak_memory_gib": run["metrics"].get(MEMORY),
        "device": info["summary"].get("device"),
        "checkpoints": list_checkpoints(run_dir),
        "resumable": run["status"] not in ("finished", "running") and has_checkpoint(run_dir),
        "log": str(log) if log.is_file() else None,
    }


def read_progress(path: Path) -> dict[str, int | None]:
    """Return the last step and the last epoch in metrics.csv, which both start at 0; None if there is none."""
    progress: dict[str, int | None] = {"epoch": None, "step": None}
    try:
        with open_inside(path) as file:
            header = file.readline(TAIL_BYTES).decode("utf-8", "replace")
            start = max(file.tell(), os.fstat(file.fileno()).st_size - TAIL_BYTES)
            # The first row of the tail may be the end of a row.
            file.seek(start - 1)
            rows = file.read(TAIL_BYTES + 1).decode("utf-8", "replace").split("\n")[1:][-NUM_TAIL_ROWS:]
        for row in csv.DictReader(io.StringIO("\n".join([header.strip(), *rows]))):
            for name, last in progress.items():
                if (cell := row.get(name)) and cell.isdecimal() and cell.isascii():
                    progress[name] = max(int(cell[:18]), last or 0)
    except (OSError, csv.Error):
        pass
    return progress


def load_sweep(sweep_dir: Path, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the progress of a sweep, and the jobs that are not finished.

    Args:
        sweep_dir: The sweep directory.
        runs: The loaded runs; some of them are the jobs of the sweep.
    """
    definition = read_json_or_empty(sweep_dir / SWEEP_FILE)
    jobs: dict[int, dict[str, Any]] = {}
    for run in runs:
        run_dir = Path(run["run_dir"])
        # Job directories are named by number and swept values, or by the number only.
        number = run_dir.name.partition("_")[0]
        if run_dir.parent == sweep_dir and number.isdecimal() and number.isascii() and len(number) < 10:
            jobs[int(number)] = {
                "overrides": [f"{key}={value}" for key, value in run["overrides"].items()],
                **{name: run[name] for name in ("status", "reason", "run_dir", "resumable")},
            }
    # A search has no planned jobs: its sweeper samples them.
    planned = definition.get("jobs")
    for index, overrides in enumerate(planned if isinstance(planned, list) else []):
        texts = [str(override) for override in overrides] if isinstance(overrides, list) else []
        not_started = {"status": NOT_STARTED, "reason": "", "run_dir": None, "resumable": False}
        jobs.setdefault(index, {"overrides": texts, **not_started})
    search = definition.get("search")
    return {
        "sweep_dir": str(sweep_dir),
        "num_jobs": len(jobs),
        "statuses": dict(Counter(job["status"] for job in jobs.values())),
        "unfinished_jobs": [
            {"job": index, **jobs[index]} for index in sorted(jobs) if jobs[index]["status"] != "finished"
        ],
        "search": search if isinstance(search, dict) else None,
    }
