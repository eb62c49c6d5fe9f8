"""Load the evaluations and predictions of a run, which have directories of their own."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from firstlight.run.evaluation import EVALUATION_FILE, EVALUATIONS_DIR
from firstlight.run.files import read_json_or_empty
from firstlight.run_data.evaluation import ImageEmbedder, load_evaluation
from firstlight.run_data.run_info import get_dict, to_json_number, to_text

# The newest evaluations of a run. A page with all evaluations of a nightly job would not open.
MAX_EVALUATIONS = 20
# Keys of a dataset that say where its data is.
LOCATION_KEYS = ("root", "path", "name")


def list_evaluation_dirs(run_dir: Path) -> list[Path]:
    """Return the directories of the newest evaluations of a run, newest first. Links are not followed."""
    parent = run_dir / EVALUATIONS_DIR
    if parent.is_symlink() or not parent.is_dir():
        return []
    found = [path for path in parent.iterdir() if not path.is_symlink() and (path / EVALUATION_FILE).is_file()]
    return sorted(found, key=lambda path: path.name, reverse=True)[:MAX_EVALUATIONS]


def group_by_run(directories: Iterable[Path], run_dirs: Iterable[Path]) -> dict[Path | None, list[Path]]:
    """Return the evaluations of each run: those in its directory, and those in other directories that name the run.

    Args:
        directories: Directories of evaluations outside of runs.
        run_dirs: The runs of the report.

    Returns:
        Directories by run. The key None has the evaluations of runs that are not part of the report.
    """
    groups: dict[Path | None, list[Path]] = {run_dir: list_evaluation_dirs(run_dir) for run_dir in run_dirs}
    runs_by_path = {str(run_dir.resolve()): run_dir for run_dir in groups if run_dir is not None}
    for directory in directories:
        run = read_evaluation(directory).get("run")
        groups.setdefault(runs_by_path.get(str(run)), []).append(directory)
    return groups


def read_evaluation(directory: Path) -> dict[str, Any]:
    """Return the contents of evaluation.json, as far as it is valid."""
    path = directory / EVALUATION_FILE
    return {} if path.is_symlink() else read_json_or_empty(path)


def load_evaluation_info(directory: Path, run_name: str | None = None) -> dict[str, Any]:
    """Return a row of the table of evaluations.

    Args:
        directory: Directory of the evaluation.
        run_name: Name of its run on the page. If None, the path in evaluation.json.
    """
    record = read_evaluation(directory)
    return {
        "run": run_name or to_text(record.get("run")) or to_text(record.get("checkpoint")),
        "directory": str(directory),
        "command": to_text(record.get("command")) or "unknown",
        "started": to_text(record.get("started")),
        "split": to_text(record.get("split")),
        "num_samples": to_json_number(record.get("samples")),
        "data": describe_data(record),
        "checkpoint": to_text(record.get("checkpoint")),
        "metrics": {str(name): to_json_number(value) for name, value in get_dict(record, "metrics").items()},
        "intervals": parse_intervals(record),
    }


def parse_intervals(record: dict[str, Any]) -> dict[str, list[float]]:
    """Return the confidence interval of each metric, as far as it is two finite numbers."""
    intervals = {str(name): value for name, value in get_dict(record, "intervals").items() if isinstance(value, list)}
    numbers = {name: [end for end in value if type(end) in (int, float)] for name, value in intervals.items()}
    return {name: ends for name, ends in numbers.items() if len(ends) == 2 and all(map(math.isfinite, ends))}


def describe_data(record: dict[str, Any]) -> str:
    """Return the inputs of a prediction, or the class of the dataset with its location."""
    if record.get("input") is not None:
        return str(record["input"])
    data = get_dict(record, "data")
    locations = [f"{key}={data[key]}" for key in LOCATION_KEYS if data.get(key) is not None]
    return ", ".join([str(data.get("_target_") or "dataloaders of the model").rpartition(".")[2], *locations])


def load_evaluation_details(directories: list[Path], embedder: ImageEmbedder) -> list[dict[str, Any]]:
    """Return the rows of some evaluations with their results."""
    return [{**load_evaluation(path, embedder), **load_evaluation_info(path)} for path in directories]
