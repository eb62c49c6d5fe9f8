"""Random texts: for smoke runs, tests and benchmarks."""

from typing import Any

import numpy as np

from firstlight.data.text import TextDataModule


class FakeTextDataModule(TextDataModule):
    """Seeded words, a fifth of them the class's own, so that a model can learn it.

    Args:
        num_classes: classes, each in equal number.
        num_samples: training texts; val and test have a quarter of that each, at least one per class.
        num_words: size of the vocabulary that the texts draw from.
        seed: chooses the words.
        max_length: tokens per text.
        pad_to_multiple_of: as in `Text`.
        batch_size: texts per step.
        num_workers: processes that read; None chooses for the platform.
        drop_last: as in `Text`.
        group_by_length: as in `Text`.
    """

    def __init__(
        self,
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
    ) -> None:
        super().__init__(max_length, pad_to_multiple_of, batch_size, num_workers, drop_last, group_by_length)
        self.num_classes = num_classes
        self.num_samples = num_samples
        self.num_words = num_words
        self.seed = seed

    def load_texts(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, texts and labels."""
        generator = np.random.default_rng(self.seed)
        few = max(self.num_samples // 4, self.num_classes)
        splits = {}
        for name, count in {"train": self.num_samples, "val": few, "test": few}.items():
            labels = [index % self.num_classes for index in range(count)]
            words = generator.integers(0, self.num_words, (count, self.max_length))
            own = generator.random(words.shape) < 0.2
            texts = [
                " ".join(f"class{label}" if is_own else f"word{word}" for word, is_own in zip(*pair, strict=True))
                for label, pair in zip(labels, zip(words, own, strict=True), strict=True)
            ]
            splits[name] = (texts, labels)
        return [f"class {index}" for index in range(self.num_classes)], splits
