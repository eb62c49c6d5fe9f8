"""Write predictions to a file as they are made, batch by batch."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from firstlight.hardware.host_copy import HostCopyQueue
from firstlight.model.task import Task
from firstlight.run.output_path import is_stream
from firstlight.run.text import format_csv

# Columns with text. Numbers in all other columns are numbers in JSON, too.
TEXT_COLUMNS = ("id", "label", "labels")


class PredictionWriter(Callback):
    """Write a row per input to a CSV, TSV or JSON Lines file, after each batch; on CUDA up to two batches later.

    The file is created with the first prediction, so that a prediction that fails before leaves an earlier file as it
    was.

    Args:
        path: File to write. Any other suffix, such as of /dev/stdout, is CSV.
        names: Name of each input.
    """

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path = path
        self.names = names
        # Indices of the inputs that are written.
        self.written: set[int] = set()
        self.file: IO[str] | None = None
        self.queue = HostCopyQueue()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the predictions that have arrived on the CPU."""
        self.queue.put(outputs)
        for predictions in self.queue.iter_ready():
            self._write_batch(predictions, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions of the last batches."""
        for predictions in self.queue.iter_all():
            self._write_batch(predictions, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the predictions of the batches before the one that failed."""
        with suppress(RuntimeError):  # the device may have failed
            self.on_predict_end(trainer, pl_module)

    def _write_batch(self, predictions: dict[str, Tensor], pl_module: LightningModule) -> None:
        """Write the predictions of a batch; an input that could not be read has the ID -1."""
        assert isinstance(pl_module, Task)
        rows = zip(predictions["ids"].tolist(), pl_module.format_predictions(predictions), strict=True)
        readable = {index: row for index, row in rows if index >= 0}
        if not readable:
            return
        lines = [{"id": self.names[index], **row} for index, row in readable.items()]
        if self.file is None:
            self.file = self._open_file()
            self.file.write(format_rows(self.path, [dict.fromkeys(lines[0])], is_header=True))
        self.file.write(format_rows(self.path, lines))
        self.file.flush()
        self.written |= set(readable)

    def close(self) -> None:
        """Flush the file to disk."""
        if self.file is not None:
            if not is_stream(self.path):
                os.fsync(self.file.fileno())
            self.file.close()

    def _open_file(self) -> IO[str]:
        if is_stream(self.path):
            # Append, because stdout may be a file to which the shell has already written.
            return self.path.open("a", encoding="utf-8", errors="replace", newline="")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Lone surrogates in file names that are not UTF-8: an escape sequence in JSON, "?" elsewhere.
        errors = "backslashreplace" if self.path.suffix.lower() == ".jsonl" else "replace"
        return self.path.open("w", encoding="utf-8", errors=errors, newline="")


def format_rows(path: Path, rows: list[dict[str, Any]], is_header: bool = False) -> str:
    """Return rows in the format of a file.

    Args:
        path: The file.
        rows: Rows by column.
        is_header: Whether to return the names of the columns; JSON Lines has no header.
    """
    if path.suffix.lower() == ".jsonl":
        lines = [] if is_header else [json.dumps(parse_numbers(row), ensure_ascii=False) for row in rows]
        return "".join(f"{line}\n" for line in lines)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    return format_csv((row.keys() if is_header else row.values() for row in rows), delimiter)


def parse_numbers(row: dict[str, str]) -> dict[str, Any]:
    """Return a row with numbers in place of their text, except in `TEXT_COLUMNS`."""

    def parse(value: str) -> float | str:
        try:
            return float(value)
        except ValueError:
            return value

    return {name: value if name in TEXT_COLUMNS else parse(value) for name, value in row.items()}


class BatchCollector(Callback):
    """Keep what `predict_step` returned so far, so that it can be saved if a later batch fails.

    Lightning's own list of predictions waits for the device in every batch.
    """

    def __init__(self) -> None:
        # By dataloader and batch, on the CPU.
        self.batches: list[list[Any]] = []
        self.queue = HostCopyQueue()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the results of the previous prediction."""
        self.batches = [[] for _ in trainer.num_predict_batches]

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the result of a batch."""
        self.queue.put((dataloader_idx, outputs))
        for index, value in self.queue.iter_ready():
            self.batches[index].append(value)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the results of the last batches."""
        for index, value in self.queue.iter_all():
            self.batches[index].append(value)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep the results of the batches before the one that failed."""
        with suppress(RuntimeError):  # the device may have failed
            self.on_predict_end(trainer, pl_module)

    def get_results(self) -> list[Any]:
        """Return a list of results per dataloader, or the list of a single dataloader, as `Trainer.predict` does."""
        return self.batches[0] if len(self.batches) == 1 else self.batches
