"""Keep the samples of a split with the highest scores, on the device and without waiting for it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

# Score of a sample that is never kept. All other scores are higher.
EXCLUDED = -2.0


class TopSamples:
    """The samples with the highest scores so far, as columns: tensors with a row per sample.

    Of equal scores, the earlier sample is kept. The memory is that of `max_samples` rows, whatever the number of
    batches.

    Args:
        max_samples: Maximum number of samples.
    """

    def __init__(self, max_samples: int) -> None:
        self.max_samples = max_samples
        self.scores: Tensor | None = None
        self.columns: dict[str, Tensor] = {}

    def update(self, scores: Tensor, select_columns: Callable[[Tensor], dict[str, Tensor]]) -> None:
        """Add a batch.

        Args:
            scores: Score of each sample, shape (batch,).
            select_columns: Returns the columns of some rows of the batch, given the indices of these rows. The columns
                may have a second dimension that differs between batches; the shorter one is padded with zeros.
        """
        # Not topk: its order of equal scores is undefined.
        rows = scores.argsort(descending=True, stable=True)[: self.max_samples]
        scores, columns = select_rows(scores, rows), select_columns(rows)
        if self.scores is not None:
            scores = torch.cat([self.scores, scores])
            columns = {name: concatenate(self.columns[name], column) for name, column in columns.items()}
            rows = scores.argsort(descending=True, stable=True)[: self.max_samples]
            scores = select_rows(scores, rows)
            columns = {name: select_rows(column, rows) for name, column in columns.items()}
        self.scores, self.columns = scores, columns

    def fetch(self) -> dict[str, Tensor]:
        """Return the columns on the CPU, without excluded samples, from the highest score; {} without a batch."""
        if self.scores is None:
            return {}
        kept = self.scores.cpu() > EXCLUDED
        return {name: column.cpu()[kept] for name, column in self.columns.items()}


def select_rows(column: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a column, on the device of the column."""
    return column.index_select(0, rows.to(column.device))


def concatenate(first: Tensor, second: Tensor) -> Tensor:
    """Return the rows of two columns; if the second dimension differs, the shorter one is padded with zeros."""
    if first.ndim == 2:
        width = max(first.shape[1], second.shape[1])
        first, second = (functional.pad(column, (0, width - column.shape[1])) for column in (first, second))
    return torch.cat([first, second])
