"""metrics.csv in the run folder: every figure of every run, without any service."""

import csv
import io
import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from firstlight.run.files import write_atomically

# At most so many seconds of figures are lost when the run is killed; a checkpoint comes with all figures before it.
FLUSH_INTERVAL_S = 5.0


# Lightning 2.6's CSVLogger deletes the file of a resumed run, and rewrites the whole file in place, so that a crash in
# that moment loses it.
class MetricsCSVLogger(Logger):
    """Rows of a step each in DIR/metrics.csv; a run that goes on takes away those behind its checkpoint."""

    def __init__(self, save_dir: str) -> None:
        """Write to the folder `save_dir`."""
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"
        self.buffer: list[dict[str, Any]] = []
        self.written_at = time.monotonic()
        self.columns: list[str] = []

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    @property
    def version(self) -> str:
        """There is one of each run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Leave them to config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Note the figures of a step."""
        self.buffer.append({**{name: float(value) for name, value in metrics.items()}, "step": step})
        if time.monotonic() - self.written_at > FLUSH_INTERVAL_S:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write what waits.

        Raises:
            OSError: the disk is full; what waits is kept.
        """
        if not self.buffer:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = {name for row in self.buffer for name in row} - {*self.columns}
        if new:
            self._rewrite(self._read(), sorted({*self.columns, *new}))
        size = self.path.stat().st_size
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(self._format_rows(self.buffer))
        except OSError:
            os.truncate(self.path, size)  # half a row must not stay
            raise
        self.buffer, self.written_at = [], time.monotonic()

    @rank_zero_only
    def truncate_after(self, steps: int) -> None:
        """Keep the rows of the first steps: those which the checkpoint has behind it from which the run goes on."""
        kept = [row for row in self._read() if int(row["step"]) < steps]
        self._rewrite(kept, sorted({name for row in kept for name in row}))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what waits."""
        self.save()

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        self.columns = columns
        header = dict(zip(columns, columns, strict=True))
        write_atomically(self.path, self._format_rows([header, *rows]) if columns else "")

    def _format_rows(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore").writerows(rows)
        return text.getvalue()
