"""Run sweeps with the real command, in separate processes."""

import csv
import os
import subprocess
import time
from pathlib import Path

from support.tiny_training import NO_PLOTS, make_command


def start_sweep(directory: Path, *overrides: str, **variables: str) -> subprocess.Popen:
    """Start a sweep over the smallest training runs in a directory, as the leader of a new process group.

    `variables` are added to its environment.
    """
    directory.mkdir(exist_ok=True)
    return subprocess.Popen(
        make_command("sweep", *NO_PLOTS, *overrides),
        cwd=directory,
        env={"OMP_NUM_THREADS": "1", **os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_sweep(directory: Path, *overrides: str, **variables: str) -> tuple[int, str, Path]:
    """Run a sweep, and return its exit code, its output and its sweep directory."""
    process = start_sweep(directory, *overrides, **variables)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output, find_sweep_dir(directory)


def find_sweep_dir(directory: Path) -> Path:
    (sweep_dir,) = (directory / "logs" / "sweep").iterdir()
    return sweep_dir


def read_results(sweep_dir: Path) -> list[dict[str, str]]:
    with (sweep_dir / "results.csv").open() as file:
        return list(csv.DictReader(file))


def read_statuses(sweep_dir: Path) -> list[str]:
    return [row["status"] for row in read_results(sweep_dir)]


def wait_until(condition, timeout_s: float = 90) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
