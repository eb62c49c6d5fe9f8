"""W&B runs on disk: find segments that are not uploaded yet, and upload them."""

import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstlight.run.containment import iter_unsafe_files
from firstlight.run.files import read_json_or_empty

# The name of a segment: its start time and the ID of its run.
SEGMENT_NAME = re.compile(r"(offline-)?run-[\w]+-[\w-]+")
# Size of the header of a .wandb file, before its first record.
HEADER_BYTES = 7


@dataclass(frozen=True)
class RunSegment:
    """The files of one attempt of a W&B run; a resumed run has several segments with the same ID.

    Attributes:
        segment_dir: Directory that the W&B client created for the attempt.
    """

    segment_dir: Path

    @property
    def id(self) -> str:
        """ID of the run, the same in all its segments."""
        return self.segment_dir.name.split("-", 2 + self.is_offline)[-1]

    @property
    def is_offline(self) -> bool:
        """Return True if the segment was written offline."""
        return self.segment_dir.name.startswith("offline-")

    @property
    def start_time(self) -> str:
        """Start time as a string that sorts chronologically."""
        return self.segment_dir.name.removeprefix("offline-").split("-", 2)[1]

    @property
    def wandb_file(self) -> Path:
        """File with all records of the segment."""
        return self.segment_dir / f"run-{self.id}.wandb"

    @property
    def synced_marker(self) -> Path:
        """File that the W&B client creates next to `wandb_file` once the segment is uploaded."""
        return self.wandb_file.with_suffix(".wandb.synced")

    @property
    def run_dir(self) -> Path:
        """The run directory."""
        return self.segment_dir.parents[1]

    @property
    def may_be_running(self) -> bool:
        """Return True if the process that writes the segment is alive, or runs on another machine."""
        record = read_json_or_empty(self.run_dir / "run.json")
        loggers: Any = record.get("loggers")
        run_info: Any = loggers.get("wandb") if isinstance(loggers, dict) else None
        if record.get("status") != "running" or not isinstance(run_info, dict):
            return False
        if Path(str(run_info.get("segment_dir"))).name != self.segment_dir.name:
            return False
        return run_info.get("host") != socket.gethostname() or _is_process_alive(run_info.get("pid"))

    @property
    def unsafe_file(self) -> Path | None:
        """A file that may not be uploaded, because it leads out of the segment or is not a regular file, or None."""
        return next(iter_unsafe_files(self.segment_dir), None)


def find_segments(root: Path) -> list[RunSegment]:
    """Return the segments of all runs below a directory, in chronological order."""
    found = [RunSegment(file.parent) for file in root.rglob("run-*.wandb") if SEGMENT_NAME.fullmatch(file.parent.name)]
    segments = [segment for segment in found if segment.wandb_file.is_file()]
    return sorted(segments, key=lambda segment: (segment.start_time, str(segment.segment_dir)))


def find_pending(root: Path) -> dict[str, list[RunSegment]]:
    """Return the segments below a directory that are not uploaded yet, by run ID."""
    pending: dict[str, list[RunSegment]] = {}
    for segment in find_segments(root):
        # A process that was killed early wrote only the header: there is nothing to upload.
        if not segment.synced_marker.exists() and segment.wandb_file.stat().st_size > HEADER_BYTES:
            pending.setdefault(segment.id, []).append(segment)
    return pending


def upload_segments(segments: list[RunSegment], timeout_s: float | None = None) -> tuple[bool, str]:
    """Upload segments of one run.

    Args:
        segments: Segments with the same run ID, in chronological order.
        timeout_s: Maximum duration of the upload in seconds. If None, there is no limit.

    Returns:
        Whether all segments were uploaded, and the URL of the run or the reason of the failure.
    """
    command = [sys.executable, "-m", "wandb", "sync", "--include-online"]
    command += [str(segment.segment_dir) for segment in segments]
    environment = {name: value for name, value in os.environ.items() if name not in ("WANDB_MODE", "WANDB_SILENT")}
    # Write the logs of `wandb sync` to the run directory instead of the working directory.
    environment["WANDB_DIR"] = str(segments[-1].run_dir.resolve())
    try:
        process = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return False, f"timed out after {timeout_s:.0f} s"
    lines = (process.stdout + process.stderr).splitlines()
    if all(segment.synced_marker.exists() for segment in segments):
        return True, next((line.split(" at ")[-1] for line in lines if "View run" in line), "")
    errors = [line.partition(prefix)[2] for line in lines for prefix in ("ERROR ", "Error: ") if prefix in line]
    errors = errors or lines[-1:]
    return False, errors[0].strip() if errors else f"wandb sync failed with exit code {process.returncode}"


def _is_process_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
