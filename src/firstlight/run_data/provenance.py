"""Collect the uncommitted changes, packages and configs of all runs, for the page; equal texts are stored once."""

import json
from pathlib import Path
from typing import Any

from firstlight.run.files import read_json_or_empty
from firstlight.run.progress import track
from firstlight.run.provenance import PROVENANCE_DIR
from firstlight.run_data.differences import find_provenance_file, load_run_parts, read_provenance_text

# Limits for one run, and for all runs together, in characters: the page stays small enough to open.
MAX_DIFF_LENGTH, MAX_TOTAL_LENGTH = 100_000, 3_000_000


def load_provenance(run_dir: Path) -> dict[str, Any]:
    """Return what a run was made of.

    Returns:
        "diff": its uncommitted changes, at most `MAX_DIFF_LENGTH` characters, or None; "diff_remark": why a part is
        missing; "parts": see `load_run_parts`.
    """
    record = read_json_or_empty(run_dir / "run.json")
    text = read_provenance_text(run_dir, record, "diff")
    run = {
        "diff": None if text is None else text[:MAX_DIFF_LENGTH],
        "diff_remark": "",
        "parts": load_run_parts(run_dir),
    }
    path = find_provenance_file(run_dir, record, "diff")
    if path is not None and (text is None or len(text) > MAX_DIFF_LENGTH):
        run["diff_remark"] = f"{'Not on this page' if text is None else 'Truncated'}. Complete text: {path}"
    return run


class ProvenanceCollector:
    """Collects the provenance of some runs.

    Attributes:
        content: "diffs": [text], "packages": [{name: version}], "config": config of the first run, "runs": {index of a
            run: its provenance}.
    """

    def __init__(self) -> None:
        self.content: dict[str, Any] = {"diffs": [], "packages": [], "config": None, "runs": {}}
        self.indices: dict[tuple[str, str], int] = {}
        self.remaining = MAX_TOTAL_LENGTH

    def add(self, index: int, run_dir: Path) -> None:
        """Load the provenance of a run, unless the page is full."""
        run = load_provenance(run_dir)
        packages, config = run["parts"].pop("packages"), run["parts"].pop("config")
        run |= self.compare_config(config)
        if run["diff"] is not None:
            run["diff"] = self.store("diffs", run["diff"])
            if run["diff"] is None:
                run["diff_remark"] = f"Not on this page. Complete text: {run_dir / PROVENANCE_DIR}"
        run["packages"] = self.store("packages", packages) if packages else None
        size = len(json.dumps(run))
        if size <= self.remaining:
            self.remaining -= size
            self.content["runs"][str(index)] = run

    def compare_config(self, config: dict[str, str]) -> dict[str, Any]:
        """Return how a config differs from the config of the first run: None is a key that it lacks."""
        base = self.content["config"]
        if base is None:
            base = self.content["config"] = config if len(json.dumps(config)) <= MAX_DIFF_LENGTH else {}
        changed = {key: value for key, value in config.items() if base.get(key) != value}
        return {"config": {**changed, **dict.fromkeys(key for key in base if key not in config)}}

    def store(self, kind: str, value: Any) -> int | None:
        """Return the index of a text or of a list of packages on the page; None if the page is full."""
        text = json.dumps(value)
        key = (kind, text)
        if key not in self.indices:
            if len(text) > self.remaining:
                return None
            self.remaining -= len(text)
            self.indices[key] = len(self.content[kind])
            self.content[kind].append(value)
        return self.indices[key]


def collect_provenance(runs: list[dict[str, Any]], order: list[int]) -> dict[str, Any]:
    """Return the provenance of runs, which the browser parses when it is shown.

    Args:
        runs: All runs of the page.
        order: Indices of the runs with details, the most important ones first.
    """
    collector = ProvenanceCollector()
    for index in track(order, "Reading configs"):
        collector.add(index, Path(runs[index]["run_dir"]))
    return collector.content
