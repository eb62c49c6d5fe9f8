"""Which metrics of training runs are compared, and in which order."""

from collections.abc import Iterable
from typing import Any

# These come first, whichever other metrics exist.
FIRST_METRICS = ("test/accuracy", "test/f1", "test/loss", "val/accuracy")
MAX_METRICS = 10


def select_comparison_metrics(runs: Iterable[dict[str, Any]]) -> list[str]:
    """Return the validation and test metrics of all runs, without duplicates.

    Args:
        runs: Mappings with the entry "metrics", values by name, as in run.json.
    """
    names = {name for run in runs for name in run.get("metrics") or {} if not name.startswith(("train", "speed/"))}
    first = [name for name in FIRST_METRICS if name in names]
    # Metrics of the test come before those of the validation, whatever follows the split in their names.
    others = sorted(
        names - set(first), key=lambda name: (not name.startswith("test"), not name.startswith("val"), name)
    )
    return [*first, *others][:MAX_METRICS]
