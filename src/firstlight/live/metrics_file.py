"""A metrics.csv that grows: only the appended bytes are read."""

import csv
import io
import os
from pathlib import Path
from typing import Any, BinaryIO

from firstlight.run.containment import open_inside
from firstlight.run_data.learning_curves import CurveTable, describe_missing_curves

# A training run logs far less. Of a larger file, the page shows the beginning.
MAX_BYTES = 64 * 2**20
# These bytes before the end of the last read must be the same, or the file was rewritten.
CHECKED_BYTES = 256
MAX_HEADER_BYTES = 100_000


class MetricsFile:
    """The curves of a metrics.csv that may grow, be rewritten with other columns, or be deleted.

    Args:
        run_dir: The run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "metrics.csv"
        self.changed_at = 0.0
        self.error: Exception | None = None
        self.tail = b""
        self._restart()

    def update(self) -> None:
        """Read the complete lines that were appended, or the complete file if it was rewritten."""
        self.error = None
        try:
            with open_inside(self.path) as file:
                if not self._is_same(file):
                    self._restart()
                self.changed_at = os.fstat(file.fileno()).st_mtime
                file.seek(self.num_bytes)
                chunk = file.read(MAX_BYTES - self.num_bytes)
            self.is_too_large = self.num_bytes + len(chunk) == MAX_BYTES
            complete = chunk[: chunk.rfind(b"\n") + 1]
            self.table.add_rows(io.StringIO(complete.decode("utf-8", errors="replace"), newline=""))
        except (OSError, csv.Error) as error:
            self._restart()
            self.error = error
            return
        self.num_bytes += len(complete)
        self.tail = (self.tail + complete)[-CHECKED_BYTES:]

    def downsample(self, max_points: int) -> dict[str, Any]:
        """Return curves and remarks as `load_curves` does."""
        if self.error is not None:
            return describe_missing_curves(self.error)
        details = self.table.downsample(max_points)
        if self.is_too_large:
            details["remarks"] = [f"metrics.csv is larger than {MAX_BYTES // 2**20} MiB. These are its first rows."]
        return details

    def _is_same(self, file: BinaryIO) -> bool:
        """Return True if the file still begins with the bytes that were read."""
        file.seek(self.num_bytes - len(self.tail))
        return file.read(len(self.tail)) == self.tail

    def _restart(self) -> None:
        self.table = CurveTable()
        self.num_bytes = 0
        self.tail = b""
        self.is_too_large = False


def read_metric_names(run_dir: Path) -> list[str]:
    """Return the metrics with a curve, from the first line of metrics.csv; [] if it cannot be read."""
    try:
        with open_inside(run_dir / "metrics.csv") as file:
            line = file.readline(MAX_HEADER_BYTES).decode("utf-8", errors="replace")
        columns = next(csv.reader([line]), [])
    except (OSError, csv.Error):
        return []
    return [name for name in columns if name and name not in ("step", "epoch") and not name.startswith("test/")]
