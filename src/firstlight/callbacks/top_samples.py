"""Keep the samples of a split with the highest scores, on the device and without waiting for it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

# Score of a sample that is never kept. All other scores are higher.
EXCLUDED = -2.0
# Batches are merged in groups, because each operation on a few samples costs as much as one on many.
MAX_PENDING_BATCHES = 16
# Images are not copied before their group is merged, so that a group keeps its batches in memory.
MAX_PENDING_BYTES = 2**28


class TopSamples:
    """The samples with the highest scores so far, as columns: tensors with a row per sample.

    Of equal scores, the earlier sample is kept. It needs memory for `max_samples` rows and for the pending
    batches, whatever the number of batches.

    Args:
        max_samples: Maximum number of samples.
        compute_scores: Returns the score of each sample, shape (samples,), from the columns of any number of samples.
    """

    def __init__(self, max_samples: int, compute_scores: Callable[[dict[str, Tensor]], Tensor]) -> None:
        self.max_samples = max_samples
        self.compute_scores = compute_scores
        self.pending: list[tuple[dict[str, Tensor], Tensor | None]] = []
        # The kept samples from the highest score: the given columns, "scores", and "slots", their rows of `images`.
        self.columns: dict[str, Tensor] = {}
        # Images stay in the row into which they were first copied. The last row receives those that are not kept.
        self.images: Tensor | None = None

    def update(self, columns: dict[str, Tensor], images: Tensor | None = None) -> None:
        """Add a batch, whose tensors must not be changed afterwards.

        Args:
            columns: Small tensors, shape (batch,) or (batch, width). The width may differ between batches; the shorter
                one is padded with -1.
            images: A large tensor, shape (batch, ...). Always or never given.
        """
        if self.pending and count_rows(columns) != count_rows(self.pending[0][0]):
            self._merge_pending()
        self.pending.append((columns, images))
        tensors = [tensor for columns, images in self.pending for tensor in (*columns.values(), images)]
        num_bytes = sum(tensor.nbytes for tensor in tensors if tensor is not None)
        if len(self.pending) >= MAX_PENDING_BATCHES or num_bytes >= MAX_PENDING_BYTES:
            self._merge_pending()

    def fetch(self) -> dict[str, Tensor]:
        """Return the columns, without excluded samples, from the highest score; {} without a batch.

        They are on the CPU, except for "images", which is on its device.
        """
        self._merge_pending()
        if not self.columns:
            return {}
        columns = {name: column.cpu() for name, column in self.columns.items()}
        num_kept = int((columns.pop("scores") > EXCLUDED).sum())
        columns = {name: column[:num_kept] for name, column in columns.items()}
        slots = columns.pop("slots")
        if self.images is not None:
            columns["images"] = self.images.index_select(0, slots.to(self.images.device))
        return columns

    def _merge_pending(self) -> None:
        """Merge the pending batches, which have the same number of samples, into the kept samples."""
        if not self.pending:
            return
        batches = [columns for columns, _ in self.pending]
        images = [images for _, images in self.pending if images is not None]
        self.pending = []
        columns = {name: concatenate([batch[name] for batch in batches]) for name in batches[0]}
        columns["scores"] = scores = self.compute_scores(columns)
        # On MPS, the scores are on the CPU.
        columns = {name: column.to(scores.device) for name, column in columns.items()}
        slots = self.columns.pop("slots", None)
        if self.columns:
            columns = {name: concatenate([self.columns[name], column]) for name, column in columns.items()}
        # Not topk: its order of equal scores is undefined.
        ordered_scores, order = columns.pop("scores").sort(descending=True, stable=True)
        order = order[: self.max_samples]
        self.columns = {name: column.index_select(0, order) for name, column in columns.items()}
        self.columns["scores"] = ordered_scores[: self.max_samples]
        num_before = 0 if slots is None else len(slots)
        free = torch.arange(num_before, len(order), device=order.device)
        self.columns["slots"] = assign_slots(order, free if slots is None else torch.cat([slots, free]), num_before)
        if images:
            self._copy_images(images, order - num_before)

    def _copy_images(self, batches: list[Tensor], positions: Tensor) -> None:
        """Copy the kept images of a group of batches into their slots.

        Args:
            batches: Images of each batch, all of them with the same number.
            positions: Position of each kept sample in the group; negative if it was kept before.
        """
        self.images = buffer = self._reserve_images(batches[0], len(positions))
        size = len(batches[0])
        starts = torch.arange(0, size * len(batches), size, device=positions.device)
        rows = positions - starts.unsqueeze(1)  # (batches, kept)
        clamped = rows.clamp(0, max(size - 1, 0))
        # Reading the number of kept images would wait for the device: instead, the last row receives all others.
        targets = torch.where(rows == clamped, self.columns["slots"], len(buffer) - 1)
        sources, targets = clamped.to(buffer.device), targets.to(buffer.device)
        for index, images in enumerate(batches):
            buffer[targets[index]] = images.index_select(0, sources[index])

    def _reserve_images(self, images: Tensor, num_rows: int) -> Tensor:
        """Return a buffer with the kept images, and space for a number of images and one more."""
        if self.images is not None and len(self.images) > num_rows:
            return self.images
        num_reserved = num_rows if self.images is None else min(self.max_samples, max(num_rows, 2 * len(self.images)))
        buffer = images.new_empty(num_reserved + 1, *images.shape[1:])
        if self.images is not None:
            buffer[: len(self.images)] = self.images
        return buffer


def assign_slots(order: Tensor, slots: Tensor, num_before: int) -> Tensor:
    """Return the slot of each kept sample: its previous slot, or the slot of a sample that is no longer kept.

    Args:
        order: Index of each kept sample, from the highest score, among all samples: first those kept before in their
            order, then the new ones. Shape (kept,).
        slots: Slots of the samples kept before in their order, then free slots, shape (kept,).
        num_before: Number of samples kept before.
    """
    is_new = order >= num_before
    # The sort is stable, so that the samples that are no longer kept are the last of those kept before.
    positions = torch.where(is_new, len(order) - is_new.cumsum(0), order)
    return slots.index_select(0, positions)


def count_rows(columns: dict[str, Tensor]) -> int:
    """Return the number of samples of a batch."""
    return len(next(iter(columns.values())))


def concatenate(columns: list[Tensor]) -> Tensor:
    """Return the rows of several columns; if the second dimension differs, the shorter ones are padded with -1."""
    if len({column.shape[1:] for column in columns}) > 1:
        width = max(column.shape[1] for column in columns)
        columns = [functional.pad(column, (0, width - column.shape[1]), value=-1) for column in columns]
    return torch.cat(columns)
