"""Train for each combination of settings:  python -m firstlight.sweep model=resnet50,vgg16 data.batch_size=16,32

Typed again, it goes on with the newest sweep of the same words until all jobs are finished; force=true starts over.
"""

import csv
import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.table import Table

from firstlight import train
from firstlight.check import check
from firstlight.command import SWEEP_FILE, show_table, tell
from firstlight.compose import composed
from firstlight.page.compare import differing
from firstlight.record import locked, read_json, write_whole
from firstlight.secret import hidden

# What a row tells beside its overrides: column of the table -> how to find it in run.json.
FIGURES = {
    "test/accuracy": ("metrics", "test/accuracy"),
    "test/f1": ("metrics", "test/f1"),
    "test/loss": ("metrics", "test/loss"),
    "val/accuracy": ("metrics", "val/accuracy"),
    "samples/s": ("metrics", "speed/samples_per_s"),
    "peak GiB": ("metrics", "speed/peak_memory_gib"),
    "seconds": ("seconds",),
}


def main() -> None:
    """Run the jobs one after the other; a failing one is a row of the table, and the exit code tells."""
    words = sys.argv[1:]
    if any(word in ("--help", "-h", "--cfg", "-c", "--info", "-i") for word in words):
        train.main()
        return
    parent = Path("logs/sweep")
    try:
        words, force = without_force(words)
        jobs = combinations(words)
        for job in jobs:
            check(composed("train", [*job, f"output_dir={parent}"]))
        asked = hidden({"words": words, "jobs": jobs})
        folder = (None if force else unfinished(parent, asked)) or started(parent, asked)
        with locked(folder):
            run(folder, words, len(jobs))
    except Exception as error:
        tell(error, "train")
        sys.exit(1)


def run(folder: Path, words: list[str], num_jobs: int) -> None:
    """Run what is left of a sweep, show the table however that ends, and leave with an exit code."""
    sys.argv[1:] = ["--multirun", *words, f"hydra.sweep.dir={folder}", *named_by_what_differs(words)]
    try:
        train.main()
    finally:
        rows = collect(folder)
        if rows:
            write(folder, rows)
            show(folder, rows)
        left = num_jobs - num_finished(folder)
        if left:
            print(f"next      the same command goes on with what is left, {left} of {num_jobs} jobs")
    sys.exit(1 if left else 0)


def without_force(words: list[str]) -> tuple[list[str], bool]:
    """Return the words for Hydra, and whether a new sweep was asked for, whatever there is."""
    values = [word.partition("=")[2] for word in words if word.partition("=")[0] == "force"]
    for value in values:
        if value not in ("true", "false"):
            raise ValueError(f"force is true or false, but it is {value!r}: type force=true to start the sweep over")
    return [word for word in words if word.partition("=")[0] != "force"], values[-1:] == ["true"]


def combinations(words: list[str]) -> list[list[str]]:
    """Return the settings of each job, by Hydra's own rules; a stored sweep's are among them."""
    experiment = [word for word in words if word.startswith("experiment=") and not is_swept(word)]
    stored = composed("train", experiment, hydra=True).hydra.sweeper.params or {}
    parser = OverridesParser.create()
    overrides = parser.parse_overrides([*(f"{name}={value}" for name, value in stored.items()), *words])
    plain = [each for each in overrides if not each.is_hydra_override()]
    return BasicSweeper.split_arguments(plain, max_batch_size=None)[0]


def unfinished(parent: Path, asked: dict[str, Any]) -> Path | None:
    """Return the newest sweep of the same words and jobs, unless all of them are finished, and tell of it."""
    same = [file.parent for file in parent.glob(f"*/{SWEEP_FILE}") if read_json(file) == asked]
    if not same:
        return None
    newest = max(same, key=lambda folder: [int(number) for number in re.findall(r"\d+", folder.name)])
    num_jobs, done = len(asked["jobs"]), num_finished(newest)
    if done == num_jobs:
        return None
    print(f"sweep     goes on in {newest}, {done} of {num_jobs} jobs are finished (force=true starts over)")
    return newest


def started(parent: Path, asked: dict[str, Any]) -> Path:
    """Return the folder of a new sweep, which keeps what was asked for, and tell of it."""
    folder = new_folder(parent)
    write_whole(folder / SWEEP_FILE, json.dumps(asked, indent=2) + "\n")
    print(f"sweep     {len(asked['jobs'])} jobs, {folder}")
    return folder


def new_folder(parent: Path) -> Path:
    """Make a folder named by the time, another one if a sweep of the same second has it."""
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in range(1, 1000):
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise ValueError(f"{parent} holds a thousand sweeps of this second: wait for the next one")


def named_by_what_differs(words: list[str]) -> list[str]:
    """Return the setting by which Hydra names jobs after the swept settings alone."""
    constant = [word.lstrip("+~").partition("=")[0] for word in words if "=" in word and not is_swept(word)]
    settings = [f"hydra.job.config.override_dirname.exclude_keys=[{','.join(constant)}]"] if constant else []
    # Values such as paths are no folder names: those jobs are called by their number alone.
    odd = any(re.search(r"[^\w.,+-]", word.partition("=")[2]) for word in words if is_swept(word))
    return [*settings, "hydra.sweep.subdir=${hydra.job.num}"] if odd else settings


def is_swept(word: str) -> bool:
    """Say whether a setting has several values to try."""
    value = word.partition("=")[2]
    outside = "".join(c for i, c in enumerate(value) if value[:i].count("[") == value[:i].count("]"))
    return "," in outside or value.startswith(("range(", "choice(", "glob("))


def collect(folder: Path) -> list[dict[str, Any]]:
    """Return a row per job, in order: its overrides, status, figures and reason."""
    runs = [run for run in job_records(folder) if is_whole(run)]
    overrides = [dict(word.lstrip("+").split("=", 1) for word in run["overrides"] if "=" in word) for run in runs]
    names = differing(overrides) or list(dict.fromkeys(name for each in overrides for name in each))
    return [
        {name: own.get(name, "") for name in names}
        | {"status": run["status"]}
        | {column: _dig(run, path) for column, path in FIGURES.items()}
        | {"reason": run.get("reason") or "", "folder": run["folder"]}
        for run, own in zip(runs, overrides, strict=True)
    ]


def job_records(folder: Path) -> list[dict[str, Any]]:
    """Return what run.json of each job tells, in order; one that a kill left empty tells nothing."""
    files = sorted(folder.rglob("run.json"), key=lambda file: _job_number(file.relative_to(folder)))
    return [record | {"folder": str(file.parent)} for file in files if (record := read_json(file))]


def is_whole(record: dict[str, Any]) -> bool:
    """Say whether a run.json tells what a row of the table needs."""
    words = record.get("overrides")
    return (
        isinstance(words, list)
        and all(isinstance(word, str) for word in words)
        and isinstance(record.get("status"), str)
    )


def num_finished(folder: Path) -> int:
    """Return how many jobs of a sweep are finished."""
    return sum(record.get("status") == "finished" for record in job_records(folder))


def _job_number(path: Path) -> int:
    """Return the number that a job's folder starts with."""
    return int(path.parts[0].partition("_")[0])


def _dig(run: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = run
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write results.csv and results.png, and batch_sizes.png where these were swept."""
    from firstlight.chart import draw_batch_sizes, draw_results

    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw_results(rows, list(FIGURES), folder / "results.png")
    if len({row.get("data.batch_size") for row in rows if row["status"] == "finished"}) > 1:
        draw_batch_sizes(rows, folder / "batch_sizes.png")


def show(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Print the table, then each failure with its reason."""
    shown = [name for name in rows[0] if name not in ("test/f1", "test/loss", "val/accuracy", "reason", "folder")]
    shown = [name for name in shown if any(row[name] not in (None, "") for row in rows)]
    table = Table(*shown, title=str(folder), title_justify="left")
    for row in rows:
        cells = [f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name] or "") for name in shown]
        table.add_row(*cells, style=None if row["status"] == "finished" else "red")
    show_table(table)
    for row in rows:
        if row["status"] != "finished":
            print(f"{row['status']}: {row['folder']}: {row['reason']}")


if __name__ == "__main__":
    main()
