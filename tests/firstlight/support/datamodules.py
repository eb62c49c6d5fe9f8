"""Set up datasets as a training run does."""

import pytest

from firstlight.data.text import TextDataModule
from firstlight.data.word_tokenizer import build_word_tokenizer


def prepare_data(data):
    """Prepare and set up a datamodule, with a tokenizer if it needs one."""
    data.prepare_data()
    data.setup()
    if isinstance(data, TextDataModule):
        pytest.importorskip("transformers", reason="the extra text is not installed")
        data.set_tokenizer(build_word_tokenizer(data.metadata["vocabulary"]))
    return data


def list_labels(dataset, max_samples: int = 500) -> list[int]:
    """Return the labels of the first samples."""
    return dataset.__getitems__(range(min(len(dataset), max_samples)))["labels"].tolist()


def count_samples(data) -> dict[str, int]:
    """Return the number of samples by split."""
    return {name: len(dataset) for name, dataset in data.datasets.items()}
