"""Find the runs of some directories, and the changes of their files, for all pages that are open."""

import hashlib
import json
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firstlight.live.watched_run import PART_FILES, WatchedRun, get_evaluations_stamp, get_stamp
from firstlight.run.errors import describe_error
from firstlight.run.evaluation import EVALUATION_FILE
from firstlight.run_data.benchmarks import load_speedup_bars
from firstlight.run_data.collect import (
    compare_runs,
    find_common_parent,
    find_records,
    get_run_name,
    make_evaluation_rows,
)
from firstlight.run_data.comparison import MAX_SELECTED, get_default_selection
from firstlight.run_data.evaluations import group_by_run

# Seconds between two looks at the files of running runs.
INTERVAL_S = 1.0
# Seconds between two searches for new and changed directories. A search that takes long is repeated less often, so that
# it takes at most 1 % of the time, but at least this often.
SEARCH_INTERVAL_S, SEARCH_FACTOR, MAX_SEARCH_INTERVAL_S = 3.0, 100.0, 30.0


@dataclass(frozen=True)
class State:
    """All that the page shows, with the version in which each part changed last. It is replaced as a whole.

    Attributes:
        version: Number of changes so far; 0: nothing was read.
        report: JSON of the report without its runs, and its version.
        order: JSON of the IDs of the runs in the order of the page.
        runs: JSON of each run by its ID, and its version.
    """

    version: int = 0
    report: tuple[str, int] = ("{}", 0)
    order: str = "[]"
    runs: dict[str, tuple[str, int]] = field(default_factory=dict)

    def get_changes(self, since: int) -> str:
        """Return the JSON of all changes after a version: "order", "runs", and "report" if it has changed."""
        runs = ",".join(text for text, version in self.runs.values() if version > since)
        report = f',"report":{self.report[0]}' if self.report[1] > since else ""
        return f'{{"order":{self.order},"runs":[{runs}]{report}}}'


class Watcher:
    """Read the runs of some directories; only changed files are read again.

    Args:
        roots: The directories.
    """

    def __init__(self, roots: list[Path]) -> None:
        self.roots = roots
        self.state = State()
        self.runs: dict[Path, WatchedRun] = {}
        self.others: dict[Path, Any] = {}
        self.lock = threading.Lock()
        self._next_search = 0.0
        self._report_parts: tuple[list[Any], list[Any]] = ([], [])
        self._changed: set[str] = set()
        self._is_outdated = False

    def refresh(self) -> bool:
        """Read changed files, and return True if the state has another version. Callable from any thread."""
        with self.lock:
            is_search = time.monotonic() >= self._next_search
            has_changed = self._search() if is_search else False
            looked_at = [run for run in self.runs.values() if is_search or run.is_running]
            changed = {run.id for run in looked_at if run.update()}
            # Kept until they are published: an error must not hide a change.
            self._changed |= changed
            self._is_outdated |= has_changed or not self.state.version
            if not self._changed and not self._is_outdated:
                return False
            self._publish(self._changed)
            self._changed, self._is_outdated = set(), False
            return True

    def get_part(self, run_id: str, part: str) -> str | None:
        """Return the JSON of a part of a run, or None if there is no such run or part."""
        run = next((run for run in self.runs.values() if run.id == run_id), None)
        if run is None or part not in PART_FILES:
            return None
        try:
            # The curves of a running run are those that `refresh` extends.
            with self.lock if run.is_running else nullcontext():
                return dump_json(run.load_part(part))
        # Damage that no one has thought of: the page shows the part as empty.
        except Exception as error:
            print(f"Warning: {part} of {run.run_dir} cannot be shown ({describe_error(error)}).", flush=True)
            return "{}"

    def _search(self) -> bool:
        """Find the runs, benchmarks and evaluations; return True if one was added, changed or removed."""
        started = time.thread_time()
        records = list(find_records(self.roots))
        base = find_common_parent(self.roots)
        run_dirs = list(dict.fromkeys(directory for directory, name in records if name == "run.json"))
        has_new_runs = set(run_dirs) != set(self.runs)
        self.runs = {path: self.runs.get(path) or make_watched_run(path, base) for path in run_dirs}
        others = {directory / name: get_stamp(directory / name) for directory, name in records if name != "run.json"}
        # The evaluations of a run are in its directory, which `find_records` does not enter.
        others |= {path: get_evaluations_stamp(path) for path in run_dirs}
        has_new_others = others != self.others
        if has_new_others or has_new_runs:
            self._report_parts = self._load_others(records, run_dirs)
            self.others = others
        interval_s = SEARCH_FACTOR * (time.thread_time() - started)
        self._next_search = time.monotonic() + min(max(SEARCH_INTERVAL_S, interval_s), MAX_SEARCH_INTERVAL_S)
        return has_new_runs or has_new_others

    def _load_others(self, records: list[tuple[Path, str]], run_dirs: list[Path]) -> tuple[list[Any], list[Any]]:
        """Return the rows of evaluations, and the benchmarks."""
        evaluated = group_by_run([directory for directory, name in records if name == EVALUATION_FILE], run_dirs)
        named = [{"run_dir": str(run.run_dir), "name": run.name} for run in self.runs.values()]
        benchmarks = [load_speedup_bars(directory / name) for directory, name in records if name == "benchmark.json"]
        return make_evaluation_rows(evaluated, named), benchmarks

    def _publish(self, changed: set[str]) -> None:
        """Replace the state."""
        version = self.state.version + 1
        runs = sorted(self.runs.values(), key=lambda run: (run.info["started"] or "", run.name), reverse=True)
        infos = [run.info for run in runs]
        report = compare_runs(infos, *self._report_parts)
        report["selection"] = [infos[index]["id"] for index in select_runs(infos)]
        text = dump_json(report)
        self.state = State(
            version=version,
            report=self.state.report if text == self.state.report[0] else (text, version),
            order=dump_json([run.id for run in runs]),
            runs={
                run.id: (dump_json(run.info), version)
                if run.id in changed or run.id not in self.state.runs
                else self.state.runs[run.id]
                for run in runs
            },
        )


def make_watched_run(run_dir: Path, base: Path) -> WatchedRun:
    """Return a run with its name on the page, and an ID that stays the same when the server is restarted."""
    digest = hashlib.sha256(str(run_dir.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return WatchedRun(run_dir, digest[:16], get_run_name(run_dir, base))


def select_runs(runs: list[dict[str, Any]]) -> list[int]:
    """Return the indices of the runs that are selected by default: running ones, then the best."""
    running = [index for index, run in enumerate(runs) if run["status"] == "running"]
    return list(dict.fromkeys([*running, *get_default_selection(runs)]))[:MAX_SELECTED]


def dump_json(value: Any) -> str:
    """Return JSON in one line of ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
