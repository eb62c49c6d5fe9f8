"""Sweeps by the real command, in processes of their own."""

import csv
import os
import subprocess
import time
from pathlib import Path

from support.small import BARE, command


def start(folder: Path, *words: str, **variables: str) -> subprocess.Popen:
    """Sweep over the smallest trainings by the real command, in a folder and a group of processes of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        command("sweep", *BARE, *words),
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", **os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def swept(folder: Path, *words: str, **variables: str) -> tuple[int, str, Path]:
    """Sweep, and return the exit code, what was told, and the sweep's folder."""
    process = start(folder, *words, **variables)
    told, _ = process.communicate(timeout=300)
    return process.returncode, told, sweep_folder(folder)


def sweep_folder(folder: Path) -> Path:
    (found,) = (folder / "logs" / "sweep").iterdir()
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def statuses(folder: Path) -> list[str]:
    return [row["status"] for row in rows(folder)]


def until(holds, seconds: float = 90) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
