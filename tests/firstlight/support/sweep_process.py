"""Sweeps by the real command, in processes of their own."""

import csv
import os
import subprocess
import time
from pathlib import Path

from support.tiny_training import NO_PLOTS, make_command


def start_sweep(folder: Path, *words: str, **variables: str) -> subprocess.Popen:
    """Sweep over the smallest trainings by the real command, in a folder and a group of processes of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        make_command("sweep", *NO_PLOTS, *words),
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", **os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_sweep(folder: Path, *words: str, **variables: str) -> tuple[int, str, Path]:
    """Sweep, and return the exit code, what was told, and the sweep's folder."""
    process = start_sweep(folder, *words, **variables)
    told, _ = process.communicate(timeout=300)
    return process.returncode, told, find_sweep_dir(folder)


def find_sweep_dir(folder: Path) -> Path:
    (found,) = (folder / "logs" / "sweep").iterdir()
    return found


def read_results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def read_statuses(folder: Path) -> list[str]:
    return [row["status"] for row in read_results(folder)]


def wait_until(holds, seconds: float = 90) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
