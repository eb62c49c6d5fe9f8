"""Runs of Weights & Biases on disk: which of them wait for upload, and the upload."""

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a .wandb file begins with, before its first record.
HEADER_BYTES = 7


@dataclass(frozen=True)
class RunSegment:
    """A stretch of a run: each start of a training writes one, and a resumed run has several."""

    folder: Path

    @property
    def id(self) -> str:
        """The run's id, the same in all its parts."""
        return self.folder.name.split("-", 2 + self.is_offline)[-1]

    @property
    def is_offline(self) -> bool:
        """Whether it was written without a server."""
        return self.folder.name.startswith("offline-")

    @property
    def start_time(self) -> str:
        """When it was started, in a form that sorts."""
        return self.folder.name.removeprefix("offline-").split("-", 2)[1]

    @property
    def wandb_file(self) -> Path:
        """The file that holds all of it."""
        return self.folder / f"run-{self.id}.wandb"

    @property
    def synced_marker(self) -> Path:
        """The file that W&B's client puts beside a part once the server has it."""
        return self.wandb_file.with_suffix(".wandb.synced")

    @property
    def run_dir(self) -> Path:
        """The folder of the training."""
        return self.folder.parents[1]

    @property
    def is_running(self) -> bool:
        """Whether the process that writes it is alive, or is another machine's, which cannot be asked."""
        record = self.run_dir / "run.json"
        run: dict[str, Any] = json.loads(record.read_text(encoding="utf-8") or "{}") if record.is_file() else {}
        facts = run.get("loggers", {}).get("wandb", {})
        if run.get("status") != "running" or Path(facts.get("folder", "")).name != self.folder.name:
            return False
        return facts["host"] != socket.gethostname() or _is_process_alive(facts["process"])


def find_segments(root: Path) -> list[RunSegment]:
    """Return the parts of all runs below a folder, in the order they were made."""
    found = [
        RunSegment(file.parent) for file in root.rglob("run-*.wandb") if re.match(r"(offline-)?run-", file.parent.name)
    ]
    return sorted(found, key=lambda part: (part.start_time, str(part.folder)))


def find_pending(root: Path) -> dict[str, list[RunSegment]]:
    """Return the parts that no server has, by the id of their run."""
    found: dict[str, list[RunSegment]] = {}
    for part in find_segments(root):
        # A process that was killed early has written nothing behind the file's first bytes: there is nothing to upload.
        if not part.synced_marker.exists() and part.wandb_file.stat().st_size > HEADER_BYTES:
            found.setdefault(part.id, []).append(part)
    return found


def upload_segment(run: list[RunSegment], timeout_s: float | None = None) -> tuple[bool, str]:
    """Upload parts of one run; return whether all arrived, and the run's address or the reason."""
    folders = [str(part.folder) for part in run]
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *folders]
    environment = {name: value for name, value in os.environ.items() if name not in ("WANDB_MODE", "WANDB_SILENT")}
    # Its logs stay beside the run's own, and not where one stands.
    environment["WANDB_DIR"] = str(run[-1].run_dir.resolve())
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return False, f"no end after {timeout_s:.0f} s"
    told = (done.stdout + done.stderr).splitlines()
    if all(part.synced_marker.exists() for part in run):
        return True, next((line.split(" at ")[-1] for line in told if "View run" in line), "")
    errors = [line.partition(word)[2] for line in told for word in ("ERROR ", "Error: ") if word in line] or told[-1:]
    return False, errors[0].strip() if errors else f"wandb sync ended with {done.returncode}"


def _is_process_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
