"""Random texts, for smoke tests and benchmarks."""

from typing import Any, Literal

import numpy as np

from firstlight.data.fake_labels import draw_fake_labels, make_fake_names
from firstlight.data.text import TextDataModule


class FakeTextDataModule(TextDataModule):
    """Seeded random words, a fifth of them the name of the class, so that a model can learn it.

    For other tasks, these words name one of the labels of the text, or the target is the fraction of one word.

    Args:
        task: "classification", "multilabel" (several labels per text) or "regression" (a number). If None, the task of
            the model, which the engine sets.
        num_classes: Number of classes, all of equal size, or number of labels.
        num_samples: Training texts. Val and test have a quarter of this each, at least one text per class.
        num_words: Size of the vocabulary.
        seed: Seed of the words.
        max_length: Tokens per text.
        pad_to_multiple_of: See `TextDataModule`.
        batch_size: Texts per step and device.
        num_workers: DataLoader workers. If None, there are none.
        drop_last: See `TextDataModule`.
        group_by_length: See `TextDataModule`.
        balanced_sampler: See `LabeledDataModule`.
    """

    def __init__(
        self,
        task: Literal["classification", "multilabel", "regression"] | None = None,
        num_classes: int = 4,
        num_samples: int = 256,
        num_words: int = 1000,
        seed: int = 0,
        max_length: int = 32,
        pad_to_multiple_of: int = 32,
        batch_size: int = 16,
        num_workers: int | None = None,
        drop_last: bool = True,
        group_by_length: bool = True,
        balanced_sampler: bool = False,
    ) -> None:
        super().__init__(
            max_length, pad_to_multiple_of, batch_size, num_workers, drop_last, group_by_length, balanced_sampler
        )
        self.set_task(task)
        self.num_classes = num_classes
        self.num_samples = num_samples
        self.num_words = num_words
        self.seed = seed

    def load_texts(self) -> tuple[list[str], dict[str, Any]]:
        """Return names, texts and labels."""
        rng = np.random.default_rng(self.seed)
        num_eval = max(self.num_samples // 4, self.num_classes)
        splits = {}
        for name, count in {"train": self.num_samples, "val": num_eval, "test": num_eval}.items():
            labels = draw_fake_labels(self.task, count, self.num_classes, rng)
            words = rng.integers(0, self.num_words, (count, self.max_length))
            fraction = labels[:, None] if self.task == "regression" else 0.2
            is_label_word = rng.random(words.shape) < fraction
            texts = [
                " ".join(
                    f"class{named[position % len(named)]}" if is_named[position] else f"word{row[position]}"
                    for position in range(self.max_length)
                )
                for named, row, is_named in zip(self._list_named(labels), words, is_label_word, strict=True)
            ]
            splits[name] = (texts, labels)
        return make_fake_names(self.task, self.num_classes), splits

    def _list_named(self, labels: np.ndarray) -> list[np.ndarray]:
        """Return the indices of the classes or labels that each text names."""
        if self.task == "classification":
            return [np.array([label]) for label in labels]
        return [np.flatnonzero(row) for row in labels] if self.task == "multilabel" else [np.array([0])] * len(labels)
