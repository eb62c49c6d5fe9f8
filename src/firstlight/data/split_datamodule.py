"""Base class of datamodules whose checkpoints store how the samples were split."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule

from firstlight.data.fold_settings import validate_folds
from firstlight.data.labels import validate_labels
from firstlight.data.sample_splitter import SampleSplitter
from firstlight.data.split_state import parse_state
from firstlight.run.rank import is_nonzero_rank


class SplitDataModule(LightningDataModule, ABC):
    """A datamodule that splits its samples with `splitter`, whose state Lightning saves in checkpoints."""

    # "classification", "multilabel" or "regression". A subclass may have it as an argument.
    task: str = "classification"

    def __init__(self) -> None:
        super().__init__()
        self.splitter = SampleSplitter()

    def set_folds(self, num_folds: int | None, fold: int | None) -> None:
        """Divide the samples into folds, of which one is the test split, instead of holding out a tenth of them.

        Args:
            num_folds: Number of folds, at least 2. If None, there are no folds.
            fold: Index of the test fold, from 0.

        Raises:
            ConfigError: If there is no such fold.
        """
        validate_folds(num_folds, fold)
        self.splitter.num_folds, self.splitter.fold = num_folds, fold

    def state_dict(self) -> dict[str, Any]:
        """Return how the samples were split; nothing if the dataset has splits of its own."""
        return self.splitter.state.to_plain() if self.splitter.state else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Split the samples as the run did that wrote a checkpoint, again if they are split already.

        Args:
            state_dict: Result of `state_dict`.

        Raises:
            CheckpointError: If the state is corrupt.
        """
        used, restored = self.splitter.state, parse_state(state_dict)
        self.splitter.restored = restored
        if used is not None and used.rule != restored.rule:
            self.reload_splits()

    @abstractmethod
    def reload_splits(self) -> None:
        """Load the splits again, because the rule has changed."""

    def validate_labels(self, split: str, labels: Any, names: list[str]) -> None:
        """Check that a model can learn from the labels of a split. See `validate_labels`."""
        # Classes may be missing, except in samples to train on.
        validate_labels("evaluated" if self.splitter.is_evaluation else split, labels, names, self.task)

    def name_classes(self, split: str, labels: Sequence[Any] | np.ndarray, names: list[str]) -> list[str] | None:
        """Return the name of the class of each sample, or None for a task without classes.

        Raises:
            DataError: If a label is not the index of a name.
        """
        if self.task != "classification":
            return None
        self.validate_labels(split, labels, names)
        return [names[label] for label in np.asarray(labels).tolist()]

    def print_notes(self) -> None:
        """Print on rank 0 what the user has to know about the samples."""
        if not is_nonzero_rank():
            for note in self.splitter.notes:
                print(note, flush=True)
