"""Print the differences between two runs: the argument `compare=`."""

from pathlib import Path
from typing import Any

from rich.cells import cell_len

from firstlight.run.errors import CheckpointError, ConfigError, invalid_value
from firstlight.run.files import read_json_or_empty
from firstlight.run.metrics import select_comparison_metrics
from firstlight.run.text import format_printable
from firstlight.run_data.collect import find_common_parent
from firstlight.run_data.differences import find_differences, find_provenance_file, load_run_parts
from firstlight.runs.columns import MISSING, format_number
from firstlight.runs.load import load_run
from firstlight.runs.table import GAP, MAX_CELL_LENGTH


def compare_runs(value: Any, search_dirs: list[Path]) -> dict[str, Any]:
    """Print how two runs differ, and return the differences.

    Args:
        value: Value of `compare=`: two run directories, or names of runs in the table.
        search_dirs: The directories that contain the named runs.

    Returns:
        "runs": the rows of both runs, "differences": {section: {key: [value of the first run, of the second run]}},
        "diff_files": the paths of the uncommitted changes, or None.
    """
    run_dirs = [find_run(item, search_dirs) for item in validate_pair(value)]
    runs = [load_run(run_dir, str(run_dir)) for run_dir in run_dirs]
    metrics = [{name: run["metrics"].get(name) for name in select_comparison_metrics(runs)} for run in runs]
    first, second = (
        {"metrics": {name: format_metric(value) for name, value in values.items() if value is not None}, **parts}
        for values, parts in zip(metrics, map(load_run_parts, run_dirs), strict=True)
    )
    differences = find_differences(first, second)
    files = [find_provenance_file(path, read_json_or_empty(path / "run.json"), "diff") for path in run_dirs]
    diff_files = [str(path) if path is not None and path.is_file() else None for path in files]
    print_differences([str(run_dir) for run_dir in run_dirs], differences)
    for path in filter(None, diff_files):
        print(f"uncommitted changes: {format_printable(path)}")
    return {"runs": runs, "differences": differences, "diff_files": diff_files}


def validate_pair(value: Any) -> list[str]:
    """Return the two runs to compare.

    Raises:
        ConfigError: If the value is not a list of two texts.
    """
    # The name of a run may be a number, such as the number of a job.
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(item, str | int) and item != "" for item in value)
    ):
        return [str(item) for item in value]
    fix = "Use e.g. compare=[logs/train/<run>,logs/train/<run>]."
    raise ConfigError(invalid_value("compare", value, "a list of two runs", fix))


def find_run(name: str, search_dirs: list[Path]) -> Path:
    """Return a run directory, given its path or its path relative to one of some directories.

    Raises:
        CheckpointError: If there is no such run.
    """
    # The names in the table are relative to the common parent of the directories, or to the parent of the only run.
    parents = [*search_dirs, find_common_parent(search_dirs), *(search_dir.parent for search_dir in search_dirs)]
    for run_dir in (Path(name), *(parent / name for parent in parents)):
        if (run_dir / "run.json").is_file():
            return run_dir
    raise CheckpointError(f"No run found in {name}. Use a run directory that `make runs columns=run_dir` lists.")


def format_metric(value: Any) -> str:
    """Return a metric as a text."""
    return format_number(value) if isinstance(value, int | float) else str(value)


def print_differences(names: list[str], differences: dict[str, dict[str, list[str | None]]]) -> None:
    """Print the values that differ, in one column per run."""
    if not any(differences.values()):
        print(f"No differences between {' and '.join(map(format_printable, names))}.")
        return
    rows = [["key", *names]]
    for section, pairs in differences.items():
        rows += [
            [f"{section}: {key}", *(MISSING if value is None else value for value in pair)]
            for key, pair in pairs.items()
        ]
    cells = [[format_printable(text, 2 * MAX_CELL_LENGTH) for text in row] for row in rows]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(2)]
    for row in cells:
        padded = [text + " " * (width - cell_len(text)) for text, width in zip(row[:2], widths, strict=True)]
        print(GAP.join([*padded, row[2]]))
