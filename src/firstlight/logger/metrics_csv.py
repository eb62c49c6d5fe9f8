"""metrics.csv in the run folder: every figure of every run, without any service."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only


class MetricsCSV(CSVLogger):
    """Lightning's CSVLogger, writing DIR/metrics.csv and going on with the rows that a resumed run finds there."""

    def __init__(self, save_dir: str) -> None:
        """Write to the folder `save_dir`."""
        super().__init__(save_dir=save_dir, name="", version="")
        self._keep_rows()

    @rank_zero_only
    def _keep_rows(self) -> None:
        path = Path(self.save_dir) / "metrics.csv"
        if not path.is_file():
            return
        with path.open(newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
        # Lightning deletes the file of an earlier run when it opens its own.
        self.experiment.metrics = [{name: value for name, value in row.items() if value != ""} for row in rows]
        self.experiment.save()
