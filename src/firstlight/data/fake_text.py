"""Random texts, for smoke tests and benchmarks."""

from typing import Any

import numpy as np

from firstlight.data.text import TextDataModule


class FakeTextDataModule(TextDataModule):
    """Seeded random words, a fifth of them the name of the class, so that a model can learn it.

    Args:
        num_classes: Number of classes, all of equal size.
        num_samples: Training texts. Val and test have a quarter of this each, at least one text per class.
        num_words: Size of the vocabulary.
        seed: Seed of the words.
        max_length: Tokens per text.
        pad_to_multiple_of: See `TextDataModule`.
        batch_size: Texts per step and device.
        num_workers: DataLoader workers. If None, there are none.
        drop_last: See `TextDataModule`.
        group_by_length: See `TextDataModule`.
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
        rng = np.random.default_rng(self.seed)
        num_eval = max(self.num_samples // 4, self.num_classes)
        splits = {}
        for name, count in {"train": self.num_samples, "val": num_eval, "test": num_eval}.items():
            labels = [index % self.num_classes for index in range(count)]
            words = rng.integers(0, self.num_words, (count, self.max_length))
            is_class_word = rng.random(words.shape) < 0.2
            texts = [
                " ".join(f"class{label}" if is_class else f"word{word}" for word, is_class in zip(*row, strict=True))
                for label, row in zip(labels, zip(words, is_class_word, strict=True), strict=True)
            ]
            splits[name] = (texts, labels)
        return [f"class {index}" for index in range(self.num_classes)], splits
