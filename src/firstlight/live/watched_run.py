"""One run on the live page: the changes in its directory since the last look."""

import os
import time
from pathlib import Path
from typing import Any

from firstlight.live.metrics_file import MetricsFile, read_metric_names
from firstlight.run.errors import describe_error
from firstlight.run.evaluation import EVALUATION_FILE, EVALUATIONS_DIR
from firstlight.run_data.collect import MAX_CURVE_POINTS
from firstlight.run_data.evaluation import RESULT_FILES, ImageEmbedder, load_evaluation
from firstlight.run_data.evaluations import list_evaluation_dirs, load_evaluation_details
from firstlight.run_data.provenance import load_provenance
from firstlight.run_data.run_info import load_run_info, read_log_tail
from firstlight.run_data.run_progress import MAX_SILENCE_S, add_progress, describe_progress, load_run_plan

# The parts of a run that the page loads when it shows them, and the files of each part.
PART_FILES = {
    "curves": ("metrics.csv",),
    "results": ("predictions.json", "first_batch.png", EVALUATIONS_DIR, *(file for file, _ in RESULT_FILES.values())),
    "log": ("output.log",),
    # The files of an attempt do not change.
    "provenance": ("run.json", "config.yaml"),
}
FILES = [name for names in PART_FILES.values() for name in names]
# A larger run.json, or file of results, is not shown: the page would not open.
MAX_RECORD_BYTES, MAX_RESULT_BYTES = 4 * 2**20, 64 * 2**20
# When a file changed last, its size, and its number.
Stamp = tuple[int, int, int] | None


class WatchedRun:
    """A run directory, whose files are read again only if they have changed.

    Attributes:
        info: What the table of runs shows; empty before the first `update`.
    """

    def __init__(self, run_dir: Path, run_id: str, name: str) -> None:
        self.run_dir, self.id, self.name = run_dir, run_id, name
        # As strings, which are several times faster than paths.
        self.paths = {name: os.path.join(run_dir, name) for name in FILES}
        self.info: dict[str, Any] = {}
        self.stamps: dict[str, Stamp] = {}
        self.is_silent = False
        # These are set while the run is running.
        self.metrics = MetricsFile(run_dir)
        self.plan: dict[str, Any] = {}
        self.observed: tuple[float, int] | None = None

    @property
    def is_running(self) -> bool:
        """True if the run has not ended, as far as run.json says."""
        return bool(self.info.get("status") == "running")

    def update(self) -> bool:
        """Return True if `info` has changed."""
        stamps = {name: get_stamp(path) for name, path in self.paths.items()}
        stamps[EVALUATIONS_DIR] = get_evaluations_stamp(self.run_dir)
        changed = {name for name, value in stamps.items() if self.stamps.get(name, 0) != value}
        changed_at = max((stamp[0] for stamp in stamps.values() if stamp), default=0) / 1e9
        is_silent = time.time() - changed_at > MAX_SILENCE_S
        if not changed and not (self.is_running and is_silent != self.is_silent):
            return False
        self.stamps, self.is_silent = stamps, is_silent
        previous = self.info
        try:
            info = self._load_info(changed)
        # Damage that no one has thought of must not hide the other runs.
        except Exception as error:
            info = describe_unreadable_run(self.run_dir, self.name, error)
        versions = {part: "-".join(map(str, map(stamps.get, names))) for part, names in PART_FILES.items()}
        self.info = {**info, "id": self.id, "versions": versions}
        return self.info != previous

    def load_part(self, part: str) -> dict[str, Any]:
        """Return the details of a part, a key of `PART_FILES`."""
        loaders = {"curves": self._load_curves, "results": self._load_results, "log": self._load_log}
        loaders["provenance"] = lambda: {"provenance": load_provenance(self.run_dir)}
        return loaders[part]()

    def _load_curves(self) -> dict[str, Any]:
        metrics = self.metrics
        if not self.is_running:
            metrics = MetricsFile(self.run_dir)
            metrics.update()
        return metrics.downsample(MAX_CURVE_POINTS)

    def _load_log(self) -> dict[str, Any]:
        return {"log": read_log_tail(self.run_dir / "output.log")}

    def _load_results(self) -> dict[str, Any]:
        for name in PART_FILES["results"]:
            if self.get_size(name) > MAX_RESULT_BYTES:
                remark = f"{name} is larger than {MAX_RESULT_BYTES // 2**20} MiB."
                return {"missing": dict.fromkeys(("matrix", "samples"), remark), "evaluations": []}
        embedder = ImageEmbedder()
        results = load_evaluation(self.run_dir, embedder)
        return {**results, "evaluations": load_evaluation_details(list_evaluation_dirs(self.run_dir), embedder)}

    def get_size(self, name: str) -> int:
        """Return the size of a file at the last `update`, in bytes; 0 if there is none."""
        stamp = self.stamps.get(name)
        return stamp[1] if stamp else 0

    def _load_info(self, changed: set[str]) -> dict[str, Any]:
        if self.get_size("run.json") > MAX_RECORD_BYTES:
            raise ValueError(f"run.json is larger than {MAX_RECORD_BYTES // 2**20} MiB")
        info = load_run_info(self.run_dir, self.name)
        if info["status"] != "running":
            self.metrics = MetricsFile(self.run_dir)
            return {**info, "curve_metrics": read_metric_names(self.run_dir)}
        if not self.is_silent:
            info["reason"] = ""
        if "run.json" in changed or not self.plan:
            self.plan, self.observed = load_run_plan(self.run_dir), None
        if "metrics.csv" in changed or not self.metrics.num_bytes:
            self.metrics.update()
        table, changed_at = self.metrics.table, self.metrics.changed_at
        add_progress(info, describe_progress(self.plan, table, changed_at, self.observed), table)
        last_step = table.get_last_step()
        if self.observed is None and last_step is not None:
            self.observed = changed_at, last_step + 1
        return {**info, "curve_metrics": list(table.curves)}


def get_evaluations_stamp(run_dir: Path) -> Stamp:
    """Return what changes when an evaluation of a run is added or ends, or None if there are none."""
    stamps = [get_stamp(path / EVALUATION_FILE) for path in list_evaluation_dirs(run_dir)]
    found = [stamp for stamp in stamps if stamp]
    return (max(stamp[0] for stamp in found), len(found), 0) if found else None


def get_stamp(path: str | Path) -> Stamp:
    """Return what changes when a file changes, or None if there is no file. A link is not followed."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def describe_unreadable_run(run_dir: Path, name: str, error: Exception) -> dict[str, Any]:
    """Return the info of a run whose files raise an unexpected error."""
    reason = f"cannot be shown ({describe_error(error)})"
    empty: dict[str, Any] = {"overrides": {}, "metrics": {}, "summary": {}, "duration_s": None, "started": None}
    empty |= {"commit": "", "seed": None, "log": None, "curve_metrics": []}
    return {**empty, "name": name, "run_dir": str(run_dir), "status": "corrupt", "reason": reason}
