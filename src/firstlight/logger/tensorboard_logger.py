"""TensorBoard logger that keeps each step of a resumed run once."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.fabric.utilities.logger import _convert_params, _flatten_dict
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from firstlight.logger.media import format_markdown_table

# Metrics that the tab HPARAMS shows next to the hyperparameters, for runs that log them.
HPARAMS_METRICS = ("val/accuracy", "val/f1", "val/loss", "test/accuracy", "test/f1", "test/loss")


class ResumableTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, which also logs images and tables, and continues at a checkpoint.

    Args:
        save_dir: Run directory; the files are written to its subdirectory tensorboard.
    """

    required_package = "tensorboard"

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name="", version="tensorboard", default_hp_metric=False)

    @property
    def run_info(self) -> dict[str, Any]:
        """TensorBoard fields of run.json."""
        return {"path": self.log_dir}

    def __str__(self) -> str:
        return self.log_dir

    @rank_zero_only
    def log_hyperparams(self, params: Any, metrics: dict[str, Any] | None = None, step: int | None = None) -> None:
        """Log the hyperparameters, shown next to `metrics`, or else next to `HPARAMS_METRICS`.

        Lightning 2.6 would log the metric hp_metric with the value -1 instead, once per attempt.
        """
        super().log_hyperparams(params, metrics, step)
        if metrics is None:
            from torch.utils.tensorboard.summary import hparams

            flat = self._sanitize_params(_flatten_dict(_convert_params(params)))
            for summary in hparams(flat, dict.fromkeys(HPARAMS_METRICS)):  # type: ignore[no-untyped-call]
                self.experiment._get_file_writer().add_summary(summary)

    @rank_zero_only
    def continue_at(self, step: int, rows: Sequence[Mapping[str, float]]) -> None:
        """Let TensorBoard ignore what earlier attempts have logged at a step and later.

        Args:
            step: The last step before the checkpoint.
            rows: Metrics of this step that were logged before the checkpoint.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # What SummaryWriter(purge_step=step) writes. The writer exists already, for the hyperparameters. Twice, because
        # TensorBoard 2.21 with --load_fast=false ignores the first start of a run, and the first attempt writes none.
        for _ in range(2):
            event = Event(step=step, session_log=SessionLog(status=SessionLog.START))
            self.experiment._get_file_writer().add_event(event)
        for row in rows:
            self.log_metrics(dict(row), step)

    @rank_zero_only
    def log_image(self, key: str, images: list[str], step: int | None = None) -> None:
        """Log image files.

        Args:
            key: Tag of the image; of several images, the tag is followed by their number.
            images: Paths of the files.
            step: Step at which they are shown.
        """
        import numpy as np
        from PIL import Image

        for index, path in enumerate(images):
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            tag = key if len(images) == 1 else f"{key}/{index}"
            self.experiment.add_image(tag, pixels, step, dataformats="HWC")

    @rank_zero_only
    def log_table(self, key: str, columns: list[str], data: list[list[Any]], step: int | None = None) -> None:
        """Log a table as text."""
        self.experiment.add_text(key, format_markdown_table(columns, data), step)
