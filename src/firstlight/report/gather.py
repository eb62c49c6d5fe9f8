"""Gather what the page shows: the table of runs, and of each run what is drawn when it is chosen."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstlight.report.benchmarks import benchmark
from firstlight.report.compare import columns, first_chosen, metrics, over_seeds, parameters
from firstlight.report.curves import curves
from firstlight.report.evaluation import Pictures, evaluation
from firstlight.report.facts import facts
from firstlight.run.files import utc_now

# What lies in or beside run folders, and holds none.
SKIPPED = ("wandb", "checkpoints", "predictions")
# Points in all curves together: beyond 200 runs of 500 points, each gets fewer.
POINTS = 100_000
MOST_POINTS = 500


@dataclass
class Content:
    """What the page shows: `report` is read when it opens, `details[i]` when run i is chosen."""

    report: dict[str, Any]
    details: list[dict[str, Any]]


def gather(folders: list[Path]) -> Content:
    """Read all runs and benchmarks below some folders.

    Raises:
        ValueError: there are none.
    """
    found = list(walk(folders))
    run_folders = list(dict.fromkeys(folder for folder, name in found if name == "run.json"))
    benchmarks = [benchmark(folder / name) for folder, name in found if name == "benchmark.json"]
    if not run_folders and not benchmarks:
        where = " and ".join(map(str, folders))
        raise ValueError(f"A run is a folder with run.json, but there is none in {where}: run `make train` first")
    base = common_folder(folders)
    runs = [facts(folder, name_of(folder, base)) for folder in run_folders]
    runs.sort(key=lambda run: (run["started"] or "", run["name"]), reverse=True)
    settings = parameters(runs)
    chosen = first_chosen(runs)
    for index, run in enumerate(runs):
        run["chosen"] = index in chosen
    report = {
        "made": utc_now(),
        "source": ", ".join(map(str, folders)),
        "runs": runs,
        "parameters": settings,
        "metrics": metrics(runs),
        "columns": columns(runs, settings),
        "seeds": over_seeds(runs),
        "benchmarks": sorted(benchmarks, key=lambda each: str(each["started"]), reverse=True),
    }
    drawn = details(runs, chosen)
    for run, detail in zip(runs, drawn, strict=True):
        run["figures"] = [name for group in detail["curves"] for name in group["figures"]]
    return Content(report, drawn)


def details(runs: list[dict[str, Any]], chosen: list[int]) -> list[dict[str, Any]]:
    """Return curves and evaluation of each run; those that the page opens with get their pictures first."""
    points = max(20, min(MOST_POINTS, POINTS // max(len(runs), 1)))
    pictures = Pictures()
    order = [*chosen, *(index for index in range(len(runs)) if index not in chosen)]
    shown = {
        index: {**curves(Path(runs[index]["folder"]), points), **evaluation(Path(runs[index]["folder"]), pictures)}
        for index in order
    }
    return [shown[index] for index in range(len(runs))]


def walk(folders: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each folder that holds run.json or benchmark.json, once, with the name of the file."""
    seen: set[Path] = set()
    for root in folders:
        for place, below, files in os.walk(root):
            folder = Path(place)
            below[:] = sorted(name for name in below if name not in SKIPPED and not name.startswith("."))
            if "run.json" in files:
                below.clear()
            for name in ("run.json", "benchmark.json"):
                if name in files and folder.resolve() / name not in seen:
                    seen.add(folder.resolve() / name)
                    yield folder, name


def common_folder(folders: list[Path]) -> Path:
    """Return the folder from which runs are named."""
    return Path(os.path.commonpath([each.resolve() for each in folders]))


def name_of(folder: Path, base: Path) -> str:
    """Return the path of a run below the common folder, its own name where it is that folder."""
    name = folder.resolve().relative_to(base).as_posix()
    return folder.resolve().name if name == "." else name
