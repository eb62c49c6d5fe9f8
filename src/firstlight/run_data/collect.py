"""Collect the content of the report: the table of runs, and the details of each run."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firstlight.run.errors import CheckpointError
from firstlight.run.evaluation import EVALUATION_FILE
from firstlight.run.files import SWEEP_FILE, utc_now
from firstlight.run.metrics import select_comparison_metrics
from firstlight.run.progress import track
from firstlight.run_data.benchmarks import load_speedup_bars
from firstlight.run_data.comparison import (
    aggregate_repeats,
    get_default_selection,
    list_varying_hyperparameters,
    make_columns,
)
from firstlight.run_data.evaluation import ImageEmbedder, load_evaluation
from firstlight.run_data.evaluations import group_by_run, load_evaluation_details, load_evaluation_info
from firstlight.run_data.learning_curves import describe_missing_curves, load_curves, read_curves
from firstlight.run_data.provenance import collect_provenance
from firstlight.run_data.run_info import load_run_info, read_log_tail
from firstlight.run_data.run_progress import add_progress, describe_progress, load_run_plan

# Directories inside or next to run directories that contain no runs of their own.
SKIPPED_DIRS = ("wandb", "checkpoints", "predictions")
# Points of all curves together: with more than 200 runs of 500 points, each curve is downsampled further.
MAX_TOTAL_POINTS = 100_000
MAX_CURVE_POINTS = 500
MIN_CURVE_POINTS = 20
# The page has curves, results and logs of this many runs, and the table of all runs.
MAX_DETAILED_RUNS = 1_000
NO_DETAILS = f"This page has curves, results and logs of {MAX_DETAILED_RUNS:,} runs only, without this one."


@dataclass
class ReportContent:
    """The data of the page.

    Attributes:
        report: Data that the browser parses when the page opens.
        details: Data of each run, which the browser parses when the run is selected.
        provenance: Uncommitted changes, packages and configs, which the browser parses when they are shown.
    """

    report: dict[str, Any]
    details: list[dict[str, Any]]
    provenance: dict[str, Any] = field(default_factory=dict)


def collect_report(roots: list[Path]) -> ReportContent:
    """Load all runs and benchmarks in some directories.

    Raises:
        CheckpointError: If the directories contain no runs and no benchmarks.
    """
    records = list(find_records(roots))
    run_dirs = list(dict.fromkeys(directory for directory, name in records if name == "run.json"))
    benchmarks = [load_speedup_bars(directory / name) for directory, name in records if name == "benchmark.json"]
    evaluated = group_by_run([directory for directory, name in records if name == EVALUATION_FILE], run_dirs)
    if not run_dirs and not benchmarks and not evaluated:
        where = " and ".join(map(str, roots))
        raise CheckpointError(f"No runs (directories with run.json) found in {where}. Run `make train` first.")
    base = find_common_parent(roots)
    runs = [load_run_info(run_dir, get_run_name(run_dir, base)) for run_dir in track(run_dirs, "Reading runs")]
    runs.sort(key=lambda run: (run["started"] or "", run["name"]), reverse=True)
    selected = get_default_selection(runs)
    details = load_run_details(runs, selected, evaluated)
    for index, (run, detail) in enumerate(zip(runs, details, strict=True)):
        run["id"] = index
        run["curve_metrics"] = [name for group in detail["curves"] for name in group["metrics"]]
    source = ", ".join(map(str, roots))
    report = {**compare_runs(runs, make_evaluation_rows(evaluated, runs), benchmarks), "source": source, "runs": runs}
    provenance = collect_provenance(runs, list_detailed_runs(runs, selected))
    return ReportContent({**report, "generated_at": utc_now(), "selection": selected}, details, provenance)


def compare_runs(
    runs: list[dict[str, Any]], evaluations: list[dict[str, Any]], benchmarks: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the data of the page, except for the runs themselves."""
    hyperparameters = list_varying_hyperparameters(runs)
    return {
        "hyperparameters": hyperparameters,
        "metrics": select_comparison_metrics(runs),
        "columns": make_columns(runs, hyperparameters),
        "seeds": aggregate_repeats(runs),
        "evaluations": evaluations,
        "benchmarks": sorted(benchmarks, key=lambda benchmark: str(benchmark["started"]), reverse=True),
    }


def make_evaluation_rows(evaluated: dict[Path | None, list[Path]], runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the table of all evaluations, newest first."""
    names = {Path(run["run_dir"]): run["name"] for run in runs}
    rows = [load_evaluation_info(path, names.get(run_dir)) for run_dir, paths in evaluated.items() for path in paths]  # type: ignore[arg-type]
    return sorted(rows, key=lambda row: (row["started"] or "", row["directory"]), reverse=True)


def load_run_details(
    runs: list[dict[str, Any]], selected: list[int], evaluated: dict[Path | None, list[Path]]
) -> list[dict[str, Any]]:
    """Return curves and test results of each run, and its evaluations.

    Runs that are selected by default are the first to embed images, and evaluations are the last. With more than
    `MAX_DETAILED_RUNS`, these are the selected runs and the newest ones. The others have a remark.
    """
    embedder = ImageEmbedder()
    order = list_detailed_runs(runs, selected)
    others = sorted({*range(len(runs))} - {*order})
    points = max(MIN_CURVE_POINTS, min(MAX_CURVE_POINTS, MAX_TOTAL_POINTS // max(len(order), 1)))
    fix = " Use runs=<its directory>."
    remark = {"curves": [], "epochs": [], "remarks": [NO_DETAILS + fix], "missing": {}, "evaluations": []}
    details: dict[int, dict[str, Any]] = dict.fromkeys(others, remark)
    for index in others:
        runs[index]["log"] = [NO_DETAILS + fix] if runs[index]["log"] else None
    for index in track(order, "Reading curves"):
        run_dir = Path(runs[index]["run_dir"])
        details[index] = {**load_curves_and_progress(runs[index], points), **load_evaluation(run_dir, embedder)}
        details[index]["log"] = runs[index]["log"] or read_log_tail(run_dir / "output.log")
    for index in order:
        paths = evaluated.get(Path(runs[index]["run_dir"]), [])
        details[index]["evaluations"] = load_evaluation_details(paths, embedder)
    return [details[index] for index in range(len(runs))]


def list_detailed_runs(runs: list[dict[str, Any]], selected: list[int]) -> list[int]:
    """Return the indices of the runs with details, the selected ones first."""
    return [*selected, *(index for index in range(len(runs)) if index not in selected)][:MAX_DETAILED_RUNS]


def load_curves_and_progress(run: dict[str, Any], max_points: int) -> dict[str, Any]:
    """Return the curves of a run, see `load_curves`, and add progress and latest metrics to a run that is running."""
    run_dir = Path(run["run_dir"])
    if run["status"] != "running":
        return load_curves(run_dir, max_points)
    try:
        table = read_curves(run_dir)
        changed_at = (run_dir / "metrics.csv").stat().st_mtime
    except (OSError, csv.Error) as error:
        return describe_missing_curves(error)
    add_progress(run, describe_progress(load_run_plan(run_dir), table, changed_at), table)
    return table.downsample(max_points)


def find_records(roots: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each directory with a run, benchmark, evaluation or sweep, without duplicates, and the name of its file."""
    seen: set[Path] = set()
    for root in roots:
        for parent, subdirs, files in os.walk(root):
            directory = Path(parent)
            subdirs[:] = sorted(name for name in subdirs if name not in SKIPPED_DIRS and not name.startswith("."))
            if "run.json" in files:
                subdirs.clear()
            names = [name for name in ("run.json", "benchmark.json", EVALUATION_FILE, SWEEP_FILE) if name in files]
            resolved = directory.resolve() if names else directory
            for name in names:
                if resolved / name not in seen:
                    seen.add(resolved / name)
                    yield directory, name


def find_common_parent(roots: list[Path]) -> Path:
    """Return the directory to which the names of runs are relative."""
    return Path(os.path.commonpath([root.resolve() for root in roots]))


def get_run_name(run_dir: Path, base: Path) -> str:
    """Return the path of a run relative to the common parent, or its directory name if both are the same."""
    name = run_dir.resolve().relative_to(base).as_posix()
    return run_dir.resolve().name if name == "." else name
