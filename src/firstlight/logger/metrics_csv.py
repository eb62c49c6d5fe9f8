"""Logger that writes all metrics of a run to metrics.csv in the run directory."""

import csv
import io
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from firstlight.run.files import write_atomically

# Metrics of at most this many seconds are lost when the run is killed. A checkpoint writes all metrics before it.
FLUSH_INTERVAL_S = 5.0


# Lightning 2.6's CSVLogger deletes the file of a resumed run. It also rewrites the complete file in place, so that a
# crash during a write loses the file.
class MetricsCSVLogger(Logger):
    """Write one row per step to metrics.csv; a resumed run removes the rows after its checkpoint.

    Args:
        save_dir: The run directory.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"
        self.buffer: list[dict[str, Any]] = []
        self.written_at = time.monotonic()
        self.columns: list[str] = []
        self.num_written = 0

    @property
    def name(self) -> str:
        """Always empty, so that a ModelCheckpoint without a directory saves to `checkpoints` of the run directory."""
        return ""

    @property
    def version(self) -> str:
        """Always empty: each run has one file."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.path.parent)

    @property
    def experiment(self) -> "MetricsCSVLogger":
        """Return the logger itself: modules may ask each logger for its experiment."""
        return self

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: hyperparameters are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Buffer the metrics of a step; write the buffer if the last write is older than `FLUSH_INTERVAL_S`."""
        self.buffer.append({**{name: float(value) for name, value in metrics.items()}, "step": step})
        if time.monotonic() - self.written_at > FLUSH_INTERVAL_S:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write the buffered rows.

        Raises:
            OSError: If writing fails, for example because the disk is full, or the file was deleted. The rows stay in
                the buffer.
        """
        if self.columns:
            self.path.stat()  # raises before a checkpoint creates the directory of a deleted run again
        if not self.buffer:
            return
        if not self.columns:  # the file may be that of a resumed run
            rows = self._read()
            self.columns, self.num_written = list(rows[0]) if rows else [], len(rows)
        new = {name for row in self.buffer for name in row} - {*self.columns}
        if new:
            self._rewrite(self._read(), sorted({*self.columns, *new}))
        size = self.path.stat().st_size
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(self._format_rows(self.buffer))
        except OSError:
            os.truncate(self.path, size)  # Remove an incomplete row.
            raise
        self.num_written += len(self.buffer)
        self.buffer, self.written_at = [], time.monotonic()

    @property
    def num_rows(self) -> int:
        """Number of rows so far."""
        return self.num_written + len(self.buffer)

    @rank_zero_only
    def truncate(self, num_rows: int, num_steps: int | None = None) -> None:
        """Remove the rows that were written after the checkpoint from which the run resumes.

        Args:
            num_rows: Number of rows at the checkpoint.
            num_steps: If given, also remove the rows of later steps.
        """
        rows = [
            row
            for row in self._read()[:num_rows]
            if num_steps is None or (str(row.get("step")).isdecimal() and int(row["step"]) < num_steps)
        ]
        self._rewrite(rows, sorted({name for row in rows for name in row}))

    def read_metrics(self, step: int) -> list[dict[str, float]]:
        """Return the metrics of each written row of a step."""
        rows = [row for row in self._read() if row["step"] == str(step)]
        return [{name: float(value) for name, value in row.items() if value and name != "step"} for row in rows]

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the buffered rows."""
        self.save()

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        rows, num_invalid = read_complete_rows(self.path)
        if num_invalid:
            print(f"Warning: {self.path} is truncated or damaged. Dropped {num_invalid} of its lines.", flush=True)
        return rows

    def _rewrite(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        self.columns, self.num_written = columns, len(rows)
        header = dict(zip(columns, columns, strict=True))
        write_atomically(self.path, self._format_rows([header, *rows]) if columns else "")

    def _format_rows(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore").writerows(rows)
        return text.getvalue()


def read_complete_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of a metrics.csv by column, and the number of lines that are truncated or invalid.

    After a power cut, a file may end inside a row, whose last number would then have another value.
    """
    text = path.read_bytes().decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    num_lines = len(lines)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    reader = csv.DictReader(lines)
    if "step" not in (reader.fieldnames or ()):
        return [], num_lines
    rows = [row for row in reader if is_complete_row(row)]
    return rows, num_lines - 1 - len(rows)


def is_complete_row(row: dict[Any, Any]) -> bool:
    """Return True if a row has a value for each column, and numbers in them."""
    if None in row or None in row.values() or not row["step"].isdigit():
        return False
    with suppress(ValueError):
        return all(value == "" or isinstance(float(value), float) for value in row.values())
    return False
