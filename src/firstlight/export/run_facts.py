"""What the files of a run say about its model: data, metrics, hardware and plots. Missing files are left out."""

import math
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from firstlight.run.containment import find_run_dir, open_inside
from firstlight.run.evaluation import hash_checkpoint
from firstlight.run.files import get_best_or_last_checkpoint, read_json_or_empty
from firstlight.run_data.evaluations import list_evaluation_dirs, read_evaluation
from firstlight.run_data.run_info import get_dict
from firstlight.run_data.run_progress import to_positive_int

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PLOT_BYTES = 10 * 2**20
# Overrides of an evaluation that used a part of the data, unless their value is one of the following.
LIMIT = re.compile(r"\+{0,2}trainer\.(?:limit_\w+_batches|overfit_batches|fast_dev_run)=(.*)")
SPLITS = ("test", "val", "train")
NO_LIMIT = ("null", "1.0", "0", "0.0", "false")


@dataclass(frozen=True)
class Results:
    """The metrics of one checkpoint on one split.

    Attributes:
        split: "test", "val" or "train".
        metrics: Finite values by name, without the name of the split.
        intervals: Lower and upper bound of the confidence interval of some metrics.
        num_samples: Number of evaluated samples; None if it is not recorded.
        data: Config of the evaluated dataset; empty if it is the dataset of the run.
        directory: Directory with the plots of the evaluation.
    """

    split: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    num_samples: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    directory: Path = Path()


def load_record(checkpoint: str) -> tuple[Path, dict[str, Any]]:
    """Return the run directory of a checkpoint, and run.json; {} if the checkpoint has no run."""
    run_dir = find_run_dir(Path(checkpoint))
    return run_dir, read_json_or_empty(run_dir / "run.json")


def find_results(
    run_dir: Path, record: dict[str, Any], checkpoint: str, trainer: dict[str, Any] | None = None
) -> Results | None:
    """Return the results of a checkpoint: of its newest evaluation, else of the test after the training.

    The test split comes before val, and val before train. Results of other checkpoints of the run do not count, nor
    do results of a part of the data.

    Args:
        run_dir: The run directory.
        record: Contents of run.json.
        checkpoint: The checkpoint.
        trainer: Config of the run's trainer.
    """
    trainer = trainer or {}
    digest = hash_checkpoint(Path(checkpoint))
    found = []
    for directory in list_evaluation_dirs(run_dir):
        evaluation = read_evaluation(directory)
        if is_evaluation_of(evaluation, digest) and is_complete(evaluation, trainer):
            results = parse_results(evaluation, str(evaluation.get("split")), directory)
            num_samples = to_positive_int(evaluation.get("samples"))
            found.append(replace(results, num_samples=num_samples, data=get_dict(evaluation, "data")))
    # The metrics of a run that was resumed and interrupted may be the metrics of its earlier checkpoint.
    if record.get("status") == "finished" and is_same(get_best_or_last_checkpoint(run_dir), checkpoint):
        sizes = get_dict(record, "samples")
        found += [
            replace(parse_results(record, split, run_dir), num_samples=to_positive_int(sizes.get(split)))
            for split in ("test", "val")
            if not is_limited(trainer, split) and (split != "test" or record.get("tested") is not False)
        ]
    # The first of equal ones: the newest evaluation.
    return min((item for item in found if item.metrics), key=lambda item: SPLITS.index(item.split), default=None)


def is_evaluation_of(evaluation: dict[str, Any], digest: str | None) -> bool:
    """Return True if an evaluation used the checkpoint with this hash: a resumed run replaces its best.ckpt."""
    is_known = evaluation.get("command") == "evaluate" and evaluation.get("split") in SPLITS
    return is_known and digest is not None and evaluation.get("checkpoint_hash") == digest


def is_same(path: Any, checkpoint: str) -> bool:
    """Return True if two paths name the same file of a run, which may have been moved since."""
    return isinstance(path, str) and Path(path).name == Path(checkpoint).name


def is_complete(evaluation: dict[str, Any], trainer: dict[str, Any]) -> bool:
    """Return True if an evaluation used all samples; for a stream, if nothing limits its number of batches."""
    samples, total = evaluation.get("samples"), evaluation.get("total_samples")
    if isinstance(samples, int) and isinstance(total, int):
        return samples == total
    return not has_limit(evaluation.get("overrides")) and not is_limited(trainer, str(evaluation.get("split")))


def is_limited(trainer: dict[str, Any], split: str) -> bool:
    """Return True if the config of a trainer limits the number of batches of a split."""
    limits = (trainer.get(name) for name in (f"limit_{split}_batches", "overfit_batches", "fast_dev_run"))
    return any(not (value is None or value is False or str(value) in NO_LIMIT) for value in limits)


def has_limit(overrides: Any) -> bool:
    """Return True if the overrides of an evaluation limit the number of batches."""
    matches = [LIMIT.fullmatch(str(override)) for override in overrides] if isinstance(overrides, list) else []
    return any(match is not None and match.group(1) not in NO_LIMIT for match in matches)


def parse_results(content: dict[str, Any], split: str, directory: Path) -> Results:
    """Return the finite metrics of a split in run.json or evaluation.json, and their intervals."""
    prefix = f"{split}/"
    metrics = {
        name.removeprefix(prefix): float(value)
        for name, value in get_dict(content, "metrics").items()
        if name.startswith(prefix) and is_finite(value)
    }
    intervals = {}
    for name, bounds in get_dict(content, "intervals").items():
        if isinstance(bounds, list) and len(bounds) == 2 and all(map(is_finite, bounds)):
            intervals[str(name).removeprefix(prefix)] = (float(bounds[0]), float(bounds[1]))
    return Results(split, metrics, intervals, directory=directory)


def is_finite(value: Any) -> bool:
    """Return True if a value of a JSON file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def copy_plot(path: Path, target: Path) -> bool:
    """Copy a PNG file of a run; return False if it is missing, no PNG file, too large, or leads out of the run."""
    with suppress(OSError, ValueError):
        with open_inside(path) as file:
            content = file.read(MAX_PLOT_BYTES + 1)
        if content.startswith(PNG_SIGNATURE) and len(content) <= MAX_PLOT_BYTES:
            target.write_bytes(content)
            return True
    return False
