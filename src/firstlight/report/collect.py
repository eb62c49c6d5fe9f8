"""Gather what the page shows: the table of runs, and of each run what is drawn when it is chosen."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstlight.report.benchmarks import load_benchmark
from firstlight.report.comparison import (
    aggregate_seeds,
    get_default_selection,
    list_metrics,
    list_varying_hyperparameters,
    make_columns,
)
from firstlight.report.evaluation import ImageEmbedder, load_evaluation
from firstlight.report.learning_curves import load_curves
from firstlight.report.run_info import load_run_info
from firstlight.run.files import utc_now

# What lies in or beside run folders, and holds none.
SKIPPED_DIRS = ("wandb", "checkpoints", "predictions")
# Points in all curves together: beyond 200 runs of 500 points, each gets fewer.
MAX_TOTAL_POINTS = 100_000
MAX_CURVE_POINTS = 500


@dataclass
class ReportContent:
    """What the page shows: `report` is read when it opens, `details[i]` when run i is chosen."""

    report: dict[str, Any]
    details: list[dict[str, Any]]


def collect_report(folders: list[Path]) -> ReportContent:
    """Read all runs and benchmarks below some folders.

    Raises:
        ValueError: there are none.
    """
    found = list(find_records(folders))
    run_folders = list(dict.fromkeys(folder for folder, name in found if name == "run.json"))
    benchmarks = [load_benchmark(folder / name) for folder, name in found if name == "benchmark.json"]
    if not run_folders and not benchmarks:
        where = " and ".join(map(str, folders))
        raise ValueError(f"A run is a folder with run.json, but there is none in {where}: run `make train` first")
    base = find_common_parent(folders)
    runs = [load_run_info(folder, get_run_name(folder, base)) for folder in run_folders]
    runs.sort(key=lambda run: (run["started"] or "", run["name"]), reverse=True)
    settings = list_varying_hyperparameters(runs)
    chosen = get_default_selection(runs)
    for index, run in enumerate(runs):
        run["chosen"] = index in chosen
    report = {
        "made": utc_now(),
        "source": ", ".join(map(str, folders)),
        "runs": runs,
        "parameters": settings,
        "metrics": list_metrics(runs),
        "columns": make_columns(runs, settings),
        "seeds": aggregate_seeds(runs),
        "benchmarks": sorted(benchmarks, key=lambda each: str(each["started"]), reverse=True),
    }
    drawn = load_run_details(runs, chosen)
    for run, detail in zip(runs, drawn, strict=True):
        run["metrics"] = [name for group in detail["curves"] for name in group["metrics"]]
    return ReportContent(report, drawn)


def load_run_details(runs: list[dict[str, Any]], chosen: list[int]) -> list[dict[str, Any]]:
    """Return curves and evaluation of each run; those that the page opens with get their pictures first."""
    points = max(20, min(MAX_CURVE_POINTS, MAX_TOTAL_POINTS // max(len(runs), 1)))
    pictures = ImageEmbedder()
    order = [*chosen, *(index for index in range(len(runs)) if index not in chosen)]
    shown = {
        index: {
            **load_curves(Path(runs[index]["folder"]), points),
            **load_evaluation(Path(runs[index]["folder"]), pictures),
        }
        for index in order
    }
    return [shown[index] for index in range(len(runs))]


def find_records(folders: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each folder that holds run.json or benchmark.json, once, with the name of the file."""
    seen: set[Path] = set()
    for root in folders:
        for place, below, files in os.walk(root):
            folder = Path(place)
            below[:] = sorted(name for name in below if name not in SKIPPED_DIRS and not name.startswith("."))
            if "run.json" in files:
                below.clear()
            for name in ("run.json", "benchmark.json"):
                if name in files and folder.resolve() / name not in seen:
                    seen.add(folder.resolve() / name)
                    yield folder, name


def find_common_parent(folders: list[Path]) -> Path:
    """Return the folder from which runs are named."""
    return Path(os.path.commonpath([each.resolve() for each in folders]))


def get_run_name(folder: Path, base: Path) -> str:
    """Return the path of a run below the common folder, its own name where it is that folder."""
    name = folder.resolve().relative_to(base).as_posix()
    return folder.resolve().name if name == "." else name
